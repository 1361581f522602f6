// workers.h - a pool of threads that run jobs in order of submission. Threads are started when a job finds none idle,
// up to a ceiling, and stay.
//
// Two pools exist: executors, whose jobs may block for as long as a statement runs, and helpers, whose jobs never wait
// for a client (encoding spooled rows, moving batches, closing connections), so that they cannot starve behind long
// queries.
#ifndef OD_SERVER_WORKERS_H
#define OD_SERVER_WORKERS_H

#include "base/error.h"

OD_BEGIN_C

// Embedded by whoever submits; free again as soon as `run` begins.
struct od_job {
    struct od_job *next;
    void (*run)(struct od_job *job);
};

struct od_workers;
OD_CHECKED od_code od_workers_start(const char *name, unsigned threads_max, struct od_workers **workers,
                                    struct od_error *err); // starts one thread at once
void od_workers_submit(struct od_workers *workers, struct od_job *job); // never fails; any thread
// Runs what was submitted, also by jobs meanwhile, then joins. NULL is fine.
void od_workers_stop(struct od_workers *workers);

OD_END_C

#endif
