// Results that stream, from a scripted server: flow control, resumption, cancelling, and lies.
#include "unit/client/fake_server.h"

#include "client/client.h"
#include "os/clock.h"
#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

static struct fake fake;
static struct od_client *client;

static int set_up(void **state)
{
    (void)state;
    fake_start(&fake);
    fake.inline_batches = 1;
    fake.batches = 40;
    fake.rows = 100;
    client = fake_client(&fake);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    od_client_close(client);
    fake_stop(&fake);
    return 0;
}

static struct od_query *begin(uint64_t window_bytes)
{
    struct od_error err = {0};
    struct od_query *query;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT n", .window_bytes = window_bytes};
    if (od_client_execute(client, NULL, &request, &query, &err) != OD_OK)
        fail_msg("%s", err.message);
    return query;
}

// Reads to the end and checks that the rows are 0, 1, 2, ...
static od_code read_all(struct od_query *query, int64_t *rows, struct od_error *err)
{
    struct ArrowArray array;
    *rows = 0;
    for (;;) {
        od_code rc = od_query_next(query, &array, err);
        if (rc != OD_OK)
            return rc;
        if (!array.release)
            return OD_OK;
        const int64_t *values = array.children[0]->buffers[1];
        for (int64_t i = 0; i < array.length; i++)
            assert_int_equal(values[i], *rows + i);
        *rows += array.length;
        array.release(&array);
    }
}

static void expect_failure(od_code code, const char *text)
{
    struct od_error err = {0};
    int64_t rows;
    struct od_query *query = begin(0);
    assert_int_equal(read_all(query, &rows, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, text))
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    od_query_close(query);
}

static void a_long_result_streams_within_the_window(void **state)
{
    struct od_error err = {0};
    int64_t rows;
    (void)state;
    struct od_query *query = begin(8192);
    assert_int_equal(read_all(query, &rows, &err), OD_OK);
    assert_int_equal(rows, 4000);
    od_query_close(query);
    assert_int_equal(fake.first_batches[0], 1); // batch 0 came with the answer
    assert_true(fake.in_flight_max <= 8192);
    fake_await(&fake, &fake.streams_closed, 1);
    assert_int_equal(fake.streams_cancelled, 0);
    assert_int_equal(fake.cancels, 0);
}

static void an_unread_result_stops_the_server(void **state)
{
    struct od_error err = {0};
    int64_t rows;
    (void)state;
    fake.batches = 2000;
    struct od_query *query = begin(16384);
    // What can move without a reader: what is read ahead, one batch in hand, a window on the way.
    uint64_t before;
    do {
        before = fake.acknowledged;
        const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
        nanosleep(&pause, NULL);
    } while (fake.acknowledged != before || before == 0);
    assert_true(fake.acknowledged < 200);
    assert_int_equal(read_all(query, &rows, &err), OD_OK);
    assert_int_equal(rows, 200000);
    od_query_close(query);
}

static void a_broken_stream_is_resumed(void **state)
{
    struct od_error err = {0};
    int64_t rows;
    struct od_client_traffic traffic;
    (void)state;
    fake.cuts = 3;
    fake.cut_after = 7;
    struct od_query *query = begin(0);
    assert_int_equal(read_all(query, &rows, &err), OD_OK);
    assert_int_equal(rows, 4000);
    od_query_close(query);
    assert_int_equal(fake.streams, 4);
    assert_int_equal(fake.executes, 1);
    static const uint64_t expected[] = {1, 8, 15, 22};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.first_batches[i], expected[i]);
    od_client_get_traffic(client, &traffic);
    assert_int_equal(traffic.resumes, 3);
}

static void a_stream_that_breaks_before_its_first_batch_is_resumed(void **state)
{
    struct od_error err = {0};
    int64_t rows;
    (void)state;
    fake.cuts = 2;
    fake.cut_after = 0;
    fake.cut_code = OD_UNAVAILABLE;
    struct od_query *query = begin(0);
    assert_int_equal(read_all(query, &rows, &err), OD_OK);
    assert_int_equal(rows, 4000);
    od_query_close(query);
}

static void an_error_in_mid_result_is_the_servers(void **state)
{
    (void)state;
    static const od_code finals[] = {OD_SQL, OD_SUPERSEDED, OD_BATCH_GONE, OD_TICKET_INVALID, OD_CANCELLED, OD_TIMEOUT};
    for (unsigned i = 0; i < sizeof finals / sizeof *finals; i++) {
        fake.cuts = 1;
        fake.cut_after = 5;
        fake.cut_code = finals[i];
        expect_failure(finals[i], "scripted");
        assert_int_equal(fake.streams, i + 1);
    }
}

static void a_wrong_number_is_no_result(void **state)
{
    (void)state;
    fake.skip_at = 9;
    expect_failure(OD_CORRUPT, "batch 10 of the result where batch 9 is due");
    fake_await(&fake, &fake.cancels, 1); // what still runs there is of no use
    assert_string_equal(fake.cancelled_id, "execution-1");
}

static void wrong_totals_are_no_result(void **state)
{
    (void)state;
    fake.lie_rows = 1;
    expect_failure(OD_CORRUPT, "incomplete");
    fake.lie_rows = 0;
    fake.lie_batches = 1;
    expect_failure(OD_CORRUPT, "incomplete");
}

static void no_end_is_no_result(void **state)
{
    (void)state;
    fake.no_end = true;
    expect_failure(OD_CORRUPT, "without its totals");
}

static void garbage_is_no_result(void **state)
{
    (void)state;
    fake.garbage_at_end = true;
    expect_failure(OD_CORRUPT, "StreamReply");
}

static void damaged_arrow_bytes_are_no_result(void **state)
{
    (void)state;
    fake.damaged = true;
    expect_failure(OD_CORRUPT, "");
}

static void a_wrong_number_of_rows_is_no_result(void **state)
{
    (void)state;
    fake.wrong_rows = true;
    fake.inline_batches = 0;
    expect_failure(OD_CORRUPT, "said to have 101 rows");
}

// ---- cancelling

static void cancel_from_another_thread(void *query)
{
    fake_await(&fake, &fake.streams, 1);
    od_query_cancel(query);
    od_query_cancel(query);
}

static void a_reader_that_waits_is_cancelled(void **state)
{
    struct od_error err = {0};
    int64_t rows;
    struct od_thread thread;
    (void)state;
    fake.stall = true;
    struct od_query *query = begin(0);
    assert_int_equal(od_thread_start(&thread, "cancel", cancel_from_another_thread, query, NULL), OD_OK);
    assert_int_equal(read_all(query, &rows, &err), OD_CANCELLED);
    od_thread_join(&thread);
    fake_await(&fake, &fake.cancels, 1);
    fake_await(&fake, &fake.streams_cancelled, 1);
    od_query_close(query);
    assert_int_equal(fake.cancels, 1);
}

static void a_result_closed_early_is_cancelled_on_the_server(void **state)
{
    struct od_error err = {0};
    struct ArrowArray array;
    (void)state;
    fake.batches = 2000;
    struct od_query *query = begin(8192);
    assert_int_equal(od_query_next(query, &array, &err), OD_OK);
    array.release(&array);
    od_query_close(query);
    fake_await(&fake, &fake.cancels, 1);
    assert_string_equal(fake.cancelled_id, "execution-1");
}

static void a_cancellation_just_before_the_client_closes_still_goes_out(void **state)
{
    (void)state;
    fake.stall = true;
    struct od_client *other = fake_client(&fake);
    struct od_query *query;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT n"};
    assert_int_equal(od_client_execute(other, NULL, &request, &query, NULL), OD_OK);
    od_query_close(query);
    od_client_close(other);
    assert_int_equal(fake.cancels, 1);
}

// ---- without waiting

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned times;
};

static void ring(void *argument)
{
    struct bell *bell = argument;
    pthread_mutex_lock(&bell->lock);
    bell->times++;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

static void wakers_are_called_once_each(void **state)
{
    struct bell bell = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct od_error err = {0};
    uint64_t rows = 0;
    unsigned left = 0;
    (void)state;
    od_cond_init(&bell.rung);
    struct od_query *query = begin(4096);
    for (;;) {
        struct od_batch *batch;
        enum od_pop pop = od_query_next_batch(query, &batch, (struct od_waker){ring, &bell}, &err);
        if (pop == OD_POP_END)
            break;
        if (pop == OD_POP_EMPTY) {
            left++;
            pthread_mutex_lock(&bell.lock);
            while (bell.times < left)
                pthread_cond_wait(&bell.rung, &bell.lock);
            pthread_mutex_unlock(&bell.lock);
            continue;
        }
        assert_int_equal(pop, OD_POP_BATCH);
        assert_int_equal(batch->segment_count, 1);
        rows += batch->rows;
        od_batch_unref(batch);
    }
    assert_int_equal(rows, 4000);
    assert_int_equal(bell.times, left);
    od_query_close(query);

    // One that is left behind is called by close.
    fake.stall = true;
    query = begin(4096);
    struct od_batch *batch;
    while (od_query_next_batch(query, &batch, (struct od_waker){ring, &bell}, &err) == OD_POP_BATCH)
        od_batch_unref(batch);
    assert_int_equal(bell.times, left);
    od_query_close(query);
    assert_int_equal(bell.times, left + 1);
    pthread_cond_destroy(&bell.rung);
}

static void many_queries_at_once(void **state)
{
    enum { QUERIES = 24 };
    struct od_query *queries[QUERIES];
    struct od_error err = {0};
    (void)state;
    for (unsigned i = 0; i < QUERIES; i++)
        queries[i] = begin(4096);
    for (unsigned i = QUERIES; i-- > 0;) {
        int64_t rows;
        assert_int_equal(read_all(queries[i], &rows, &err), OD_OK);
        assert_int_equal(rows, 4000);
        od_query_close(queries[i]);
    }
}

// ---- uploads

static int64_t sum_of(int64_t n)
{
    return n * (n - 1) / 2;
}

static void upload_rows(struct od_upload_stream *upload, unsigned batches, unsigned rows)
{
    struct od_error err = {0};
    for (unsigned i = 0; i < batches; i++) {
        struct ArrowArray array;
        make_array(&array, (int64_t)i * rows, rows);
        if (od_upload_stream_send(upload, &array, &err) != OD_OK)
            fail_msg("batch %u: %s", i, err.message);
        array.release(&array);
    }
}

static struct od_upload_stream *open_upload(void)
{
    struct od_error err = {0};
    struct od_upload_stream *upload;
    struct ArrowSchema schema;
    make_schema(&schema);
    if (od_upload_stream_open(client, "main", &schema, &upload, &err) != OD_OK)
        fail_msg("%s", err.message);
    schema.release(&schema);
    return upload;
}

static void an_upload_arrives_whole(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.upload_window = 4096;
    struct od_upload_stream *upload = open_upload();
    assert_int_equal(strlen(od_upload_stream_id(upload)), 32);
    upload_rows(upload, 50, 100);
    assert_int_equal(od_upload_stream_finish(upload, &err), OD_OK);
    assert_int_equal(od_upload_stream_finish(upload, &err), OD_OK);
    od_upload_stream_close(upload);
    assert_true(fake.upload_finished);
    assert_int_equal(fake.upload_rows, 5000);
    assert_int_equal(fake.upload_sum, sum_of(5000));
    assert_int_equal(fake.cancels, 0);
}

static void a_broken_upload_goes_on(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.upload_window = 8192;
    fake.upload_cut_after = 13;
    struct od_upload_stream *upload = open_upload();
    upload_rows(upload, 50, 100);
    assert_int_equal(od_upload_stream_finish(upload, &err), OD_OK);
    od_upload_stream_close(upload);
    assert_int_equal(fake.uploads, 2);
    assert_true(fake.upload_finished);
    assert_int_equal(fake.upload_rows, 5000);
    assert_int_equal(fake.upload_sum, sum_of(5000));
}

static void an_upload_without_finish_is_given_up(void **state)
{
    (void)state;
    struct od_upload_stream *upload = open_upload();
    upload_rows(upload, 3, 10);
    od_upload_stream_close(upload);
    fake_await(&fake, &fake.cancels, 1);
    assert_false(fake.upload_finished);
}

static void a_cancelled_upload_says_so(void **state)
{
    struct od_error err = {0};
    struct ArrowArray array;
    (void)state;
    struct od_upload_stream *upload = open_upload();
    od_upload_stream_cancel(upload);
    make_array(&array, 0, 10);
    assert_int_equal(od_upload_stream_send(upload, &array, &err), OD_CANCELLED);
    array.release(&array);
    assert_int_equal(od_upload_stream_finish(upload, &err), OD_CANCELLED);
    od_upload_stream_close(upload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_long_result_streams_within_the_window),
        TEST(an_unread_result_stops_the_server),
        TEST(a_broken_stream_is_resumed),
        TEST(a_stream_that_breaks_before_its_first_batch_is_resumed),
        TEST(an_error_in_mid_result_is_the_servers),
        TEST(a_wrong_number_is_no_result),
        TEST(wrong_totals_are_no_result),
        TEST(no_end_is_no_result),
        TEST(garbage_is_no_result),
        TEST(damaged_arrow_bytes_are_no_result),
        TEST(a_wrong_number_of_rows_is_no_result),
        TEST(a_reader_that_waits_is_cancelled),
        TEST(a_result_closed_early_is_cancelled_on_the_server),
        TEST(a_cancellation_just_before_the_client_closes_still_goes_out),
        TEST(wakers_are_called_once_each),
        TEST(many_queries_at_once),
        TEST(an_upload_arrives_whole),
        TEST(a_broken_upload_goes_on),
        TEST(an_upload_without_finish_is_given_up),
        TEST(a_cancelled_upload_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
