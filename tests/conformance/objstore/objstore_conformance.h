// objstore_conformance.h - the rules of src/objstore/objstore.h as tests, for any backend and any model of one.
#ifndef TESTS_CONFORMANCE_OBJSTORE_OBJSTORE_CONFORMANCE_H
#define TESTS_CONFORMANCE_OBJSTORE_OBJSTORE_CONFORMANCE_H

#include "objstore/objstore.h"

struct objstore_subject {
    const char *name;
    void *context;
    // Opens the same store each time. Objects of earlier runs may be in it: every test has keys of its own.
    od_code (*open)(void *context, struct od_objstore **store, struct od_error *err);
    // Makes a complete, synced file where put_file of this store finds it; the path lasts until the next call.
    const char *(*write_file)(void *context, const void *data, size_t bytes);
    unsigned threads; // of the races; 0: the store is a model for one thread
    unsigned rounds;  // of the races; 0: 20
    size_t large;     // bytes of the largest object of the tests; 0: 1 MiB
};

// Runs all tests; the number of failed ones.
int objstore_conformance_run(const struct objstore_subject *subject);

#endif
