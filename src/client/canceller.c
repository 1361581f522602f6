// canceller.c - cancellations sent without waiting for them; see core.h.
#include "base/alloc.h"
#include "client/core.h"

#include <stdio.h>
#include <string.h>

#define PENDING_MAX 256u
#define ID_BYTES 256u
#define CANCEL_TIMEOUT_MS 2000u

struct pending {
    size_t endpoint;
    char id[ID_BYTES];
};

struct od_canceller {
    struct od_client *client;
    pthread_mutex_t lock;
    struct pending pending[PENDING_MAX]; // a ring
    size_t head, count;
    bool working; // a job of the crew is on it
};

od_code od_canceller_new(struct od_client *client, struct od_canceller **canceller, struct od_error *err)
{
    *canceller = od_calloc(1, sizeof **canceller);
    if (!*canceller)
        return od_fail(err, OD_NO_MEMORY, "no memory for a client");
    pthread_mutex_init(&(*canceller)->lock, NULL);
    (*canceller)->client = client;
    return OD_OK;
}

void od_canceller_free(struct od_canceller *canceller)
{
    if (!canceller)
        return;
    pthread_mutex_destroy(&canceller->lock);
    od_free(canceller);
}

static od_code cancel_one(struct od_client *client, struct pending *pending)
{
    Openduck__V1__CancelRequest request = OPENDUCK__V1__CANCEL_REQUEST__INIT;
    struct od_segment packed;
    struct od_received reply = {0};
    request.execution_id = pending->id;
    if (client->link.token)
        request.access_token = client->link.token;
    od_code rc = od_message_pack(&request.base, &packed, NULL);
    if (rc != OD_OK)
        return rc;
    rc = od_channel_call(client->link.endpoints[pending->endpoint].channel, OD_SERVICE "CancelExecution", &packed, 1,
                         CANCEL_TIMEOUT_MS, CANCEL_TIMEOUT_MS, client->link.closing, &reply, NULL);
    od_free((void *)(uintptr_t)packed.data);
    od_received_release(&reply);
    return rc;
}

static void forget_endpoint(struct od_canceller *canceller, size_t endpoint)
{
    size_t kept = 0;
    for (size_t i = 0; i < canceller->count; i++) {
        struct pending *pending = &canceller->pending[(canceller->head + i) % PENDING_MAX];
        if (pending->endpoint != endpoint)
            canceller->pending[(canceller->head + kept++) % PENDING_MAX] = *pending;
    }
    canceller->count = kept;
}

static void work_off(void *opaque)
{
    struct od_canceller *canceller = opaque;
    pthread_mutex_lock(&canceller->lock);
    while (canceller->count) {
        struct pending pending = canceller->pending[canceller->head];
        canceller->head = (canceller->head + 1) % PENDING_MAX;
        canceller->count--;
        pthread_mutex_unlock(&canceller->lock);
        od_code rc = cancel_one(canceller->client, &pending);
        pthread_mutex_lock(&canceller->lock);
        if (rc == OD_UNAVAILABLE || rc == OD_TIMEOUT)
            forget_endpoint(canceller, pending.endpoint);
    }
    canceller->working = false;
    pthread_mutex_unlock(&canceller->lock);
}

void od_canceller_post(struct od_canceller *canceller, size_t endpoint, const char *execution_id)
{
    if (!*execution_id || strlen(execution_id) >= ID_BYTES)
        return;
    pthread_mutex_lock(&canceller->lock);
    if (canceller->count < PENDING_MAX) {
        struct pending *pending = &canceller->pending[(canceller->head + canceller->count++) % PENDING_MAX];
        pending->endpoint = endpoint;
        snprintf(pending->id, sizeof pending->id, "%s", execution_id);
        if (!canceller->working)
            canceller->working = od_crew_run(canceller->client->crew, work_off, canceller, NULL) == OD_OK;
    }
    pthread_mutex_unlock(&canceller->lock);
}
