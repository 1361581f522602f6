// fuzz_client_answer.c - an ExecuteReply of arbitrary bytes: whatever is accepted points into the message, and the
// batches that follow are as many as were counted.
#include "base/assert.h"
#include "client/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const uint8_t *data, size_t size, struct od_answer_bytes part)
{
    if (part.bytes)
        od_assert(part.data >= data && part.data <= data + size && part.bytes <= (size_t)(data + size - part.data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct od_answer answer;
    struct od_answer_batch batch;
    struct od_error err = {0};
    od_code rc = od_answer_parse(data, size, &answer, &err);
    if (rc != OD_OK) {
        od_assert(rc == OD_CORRUPT && err.code == rc && err.message[0]);
        return 0;
    }
    inside(data, size, answer.execution_id);
    inside(data, size, answer.catalog_version);
    inside(data, size, answer.incarnation);
    inside(data, size, answer.statement);
    inside(data, size, answer.catalog_name);
    inside(data, size, answer.schema);
    inside(data, size, answer.parameter_schema);
    inside(data, size, answer.ticket);
    inside(data, size, answer.ticket_endpoint);
    size_t count = 0;
    while (od_answer_next_batch(&answer, &batch)) {
        inside(data, size, batch.ipc);
        count++;
    }
    od_assert(count == answer.batch_count);
    return 0;
}
