// workers.c - see workers.h. One lock; a thread sleeps on the condition while there is no job.
#include "server/workers.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/thread.h"

struct od_workers {
    const char *name;
    unsigned threads_max;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct od_job *first, *last;
    unsigned queued, idle, started;
    bool stopping;
    struct od_thread threads[];
};

static void loop(void *argument)
{
    struct od_workers *workers = argument;
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (!workers->first && !workers->stopping) {
            workers->idle++;
            pthread_cond_wait(&workers->work, &workers->lock);
            workers->idle--;
        }
        struct od_job *job = workers->first;
        if (!job)
            break;
        workers->first = job->next;
        if (!workers->first)
            workers->last = NULL;
        workers->queued--;
        pthread_mutex_unlock(&workers->lock);
        job->run(job);
        pthread_mutex_lock(&workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
}

// Lock held.
static od_code start_one(struct od_workers *workers, struct od_error *err)
{
    od_code rc = od_thread_start(&workers->threads[workers->started], workers->name, loop, workers, err);
    if (rc == OD_OK)
        workers->started++;
    return rc;
}

od_code od_workers_start(const char *name, unsigned threads_max, struct od_workers **workers, struct od_error *err)
{
    struct od_workers *w = od_calloc(1, sizeof *w + threads_max * sizeof(struct od_thread));
    if (!w)
        return od_fail(err, OD_NO_MEMORY, "no memory for %u threads", threads_max);
    w->name = name;
    w->threads_max = threads_max;
    pthread_mutex_init(&w->lock, NULL);
    od_cond_init(&w->work);
    pthread_mutex_lock(&w->lock);
    od_code rc = start_one(w, err);
    pthread_mutex_unlock(&w->lock);
    if (rc != OD_OK) {
        od_workers_stop(w);
        return rc;
    }
    *workers = w;
    return OD_OK;
}

void od_workers_submit(struct od_workers *workers, struct od_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&workers->lock);
    if (workers->last)
        workers->last->next = job;
    else
        workers->first = job;
    workers->last = job;
    workers->queued++;
    struct od_error err = {0};
    // The job waits for a running one when no thread can be had; at least one thread is always there.
    if (workers->queued > workers->idle && workers->started < workers->threads_max && !workers->stopping &&
        start_one(workers, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "%s: %s", workers->name, err.message);
    pthread_cond_signal(&workers->work);
    pthread_mutex_unlock(&workers->lock);
}

void od_workers_stop(struct od_workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->threads_max; i++)
        od_thread_join(&workers->threads[i]);
    pthread_cond_destroy(&workers->work);
    pthread_mutex_destroy(&workers->lock);
    od_free(workers);
}
