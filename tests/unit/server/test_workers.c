// Tests of src/server/workers.c.
#include "os/thread.h"
#include "server/table.h"
#include "server/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

struct task {
    struct od_job job;
    struct od_workers *workers;
    struct task *then;
    atomic_uint *count;
};

static void run_task(struct od_job *job)
{
    struct task *task = od_container(job, struct task, job);
    atomic_fetch_add(task->count, 1);
    if (task->then)
        od_workers_submit(task->workers, &task->then->job);
}

static void test_everything_runs_before_the_stop(void **state)
{
    (void)state;
    static struct task tasks[1000], follow_ups[1000];
    atomic_uint count = 0;
    struct od_workers *workers;
    assert_int_equal(od_workers_start("test", 3, &workers, NULL), OD_OK);
    for (int i = 0; i < 1000; i++) {
        follow_ups[i] = (struct task){.job.run = run_task, .count = &count};
        tasks[i] = (struct task){.job.run = run_task, .workers = workers, .then = &follow_ups[i], .count = &count};
        od_workers_submit(workers, &tasks[i].job);
    }
    od_workers_stop(workers);
    assert_int_equal(atomic_load(&count), 2000);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned inside;

// Each waits until all three are there: only with a thread each do they end.
static void meet(struct od_job *job)
{
    (void)job;
    pthread_mutex_lock(&lock);
    inside++;
    pthread_cond_broadcast(&changed);
    while (inside < 3)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void test_a_busy_pool_grows(void **state)
{
    (void)state;
    struct od_job jobs[3] = {{.run = meet}, {.run = meet}, {.run = meet}};
    struct od_workers *workers;
    assert_int_equal(od_workers_start("test", 3, &workers, NULL), OD_OK);
    for (int i = 0; i < 3; i++)
        od_workers_submit(workers, &jobs[i]);
    od_workers_stop(workers);
    assert_int_equal(inside, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_runs_before_the_stop),
        cmocka_unit_test(test_a_busy_pool_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
