// crew.h - threads that are kept between jobs, because a streaming query should not pay for starting one.
//
// A job runs on an idle thread, or on a new one; jobs never wait for each other. At most OD_CREW_IDLE_MAX threads stay
// idle, the others end. Threads: all functions; a job may start jobs, but not stop the crew.
#ifndef OD_CLIENT_CREW_H
#define OD_CLIENT_CREW_H

#include "base/error.h"

OD_BEGIN_C

#define OD_CREW_IDLE_MAX 8u

struct od_crew;

OD_CHECKED od_code od_crew_new(struct od_crew **crew, struct od_error *err);
// Runs the job soon. On failure (no memory, no thread) it will not run.
OD_CHECKED od_code od_crew_run(struct od_crew *crew, void (*run)(void *argument), void *argument,
                               struct od_error *err);
// Waits for the jobs that run. NULL is fine.
void od_crew_free(struct od_crew *crew);

OD_END_C

#endif
