// metastore_conformance.h - the rules of src/metastore/metastore.h as tests, for any backend and any model of one.
#ifndef TESTS_CONFORMANCE_METASTORE_METASTORE_CONFORMANCE_H
#define TESTS_CONFORMANCE_METASTORE_METASTORE_CONFORMANCE_H

#include "metastore/metastore.h"

struct metastore_subject {
    const char *name;
    void *context;
    // Opens the same store each time. Rows of earlier runs may be in it: every test has names of its own.
    od_code (*open)(void *context, struct od_metastore **store, struct od_error *err);
    // One that holds nothing, and after it is closed again the same content; NULL: the tests of restore are left out.
    od_code (*open_empty)(void *context, struct od_metastore **store, struct od_error *err);
    unsigned threads; // of the races; 0: the store is a model for one thread
};

// Runs all tests; the number of failed ones.
int metastore_conformance_run(const struct metastore_subject *subject);

#endif
