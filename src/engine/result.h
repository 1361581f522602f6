// result.h - the producer's side of od_result (engine.h has the consumer's). C, no DuckDB.
//
// A producer describes the result once (od_result_describe), then gives it rows in one of two ways: od_result_stream
// hands it a queue that pipeline sinks fill while the statement runs; od_result_spool gives it a finished set of rows
// that is encoded when the consumer has room. od_result_finish ends it, with or without an error.
#ifndef OD_ENGINE_RESULT_H
#define OD_ENGINE_RESULT_H

#include "engine/engine.h"

OD_BEGIN_C

enum od_fill {
    OD_FILL_FULL, // the queue has no room; the waker was left with it
    OD_FILL_END,  // everything has been pushed
    OD_FILL_FAILED
};

// Rows that wait to be encoded. fill pushes batches until one of the above; free releases the rows.
struct od_result_source {
    enum od_fill (*fill)(void *self, struct od_batch_queue *queue, struct od_waker room, struct od_error *err);
    void (*free)(void *self);
};

// Copies everything in *info. Called once, before the result has rows.
OD_CHECKED od_code od_result_describe(struct od_result *result, const struct od_result_info *info,
                                      struct od_error *err);
// Replaces the catalog version given with od_result_describe (a statement that changed the catalog ends with another).
void od_result_set_catalog_version(struct od_result *result, const char *catalog_version);
// The position of what it reveals (od_result_info).
void od_result_set_position(struct od_result *result, uint64_t epoch, uint64_t lsn);
// The result becomes ready; *queue is its queue, which lives as long as the result.
OD_CHECKED od_code od_result_stream(struct od_result *result, bool ordered, struct od_batch_queue **queue,
                                    struct od_error *err);
// The result becomes ready and owns the source (also on failure).
OD_CHECKED od_code od_result_spool(struct od_result *result, const struct od_result_source *type, void *self,
                                   struct od_error *err);
// The end of the statement. NULL: success; a spooled result then ends when its rows are out, one without rows at once.
// The first call counts.
void od_result_finish(struct od_result *result, const struct od_error *failure);

OD_END_C

#endif
