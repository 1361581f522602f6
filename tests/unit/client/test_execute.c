// One Execute against a scripted server: what is retried, what is not, and what the caller gets.
#include "unit/client/fake_server.h"

#include "client/client.h"
#include "os/clock.h"
#include "os/thread.h"
#include "rpc/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static struct fake fake;
static struct od_client *client;

static int set_up(void **state)
{
    (void)state;
    fake_start(&fake);
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

static od_code run(struct od_session *session, const struct od_request *more, uint64_t *rows, struct od_error *err)
{
    struct od_request request = more ? *more : (struct od_request){0};
    struct od_query *query;
    request.struct_bytes = sizeof request;
    request.sql = "SELECT n";
    od_code rc = od_client_execute(client, session, &request, &query, err);
    if (rc != OD_OK) {
        assert_null(query);
        return rc;
    }
    rc = od_query_drain(query, rows, err);
    od_query_close(query);
    return rc;
}

static void a_small_result_takes_one_call(void **state)
{
    struct od_error err = {0};
    struct od_query *query;
    struct ArrowArray array;
    struct ArrowSchema schema;
    struct od_query_info info;
    struct od_client_traffic traffic;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT n"};
    (void)state;
    assert_int_equal(od_client_execute(client, NULL, &request, &query, &err), OD_OK);
    od_query_get_info(query, &info);
    assert_string_equal(info.execution_id, "execution-1");
    assert_string_equal(info.statement, "SELECT");
    assert_int_equal(od_query_schema(query, &schema, &err), OD_OK);
    assert_int_equal(schema.n_children, 1);
    assert_string_equal(schema.children[0]->format, "l");
    schema.release(&schema);
    assert_int_equal(od_query_next(query, &array, &err), OD_OK);
    assert_int_equal(array.length, 10);
    assert_int_equal(((const int64_t *)array.children[0]->buffers[1])[9], 9);
    array.release(&array);
    assert_int_equal(od_query_next(query, &array, &err), OD_OK);
    assert_null(array.release);
    assert_int_equal(od_query_next(query, &array, &err), OD_OK); // the end stays the end
    assert_null(array.release);
    od_query_close(query);
    od_client_get_traffic(client, &traffic);
    assert_int_equal(traffic.round_trips, 1);
    assert_int_equal(traffic.batches_received, 1);
    assert_int_equal(fake.streams, 0);
    assert_int_equal(fake.cancels, 0);
}

static void a_result_as_an_arrow_stream(void **state)
{
    struct od_error err = {0};
    struct od_query *query;
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT n"};
    int64_t rows = 0;
    (void)state;
    fake.batches = 5;
    assert_int_equal(od_client_execute(client, NULL, &request, &query, &err), OD_OK);
    assert_int_equal(od_query_stream(query, &stream, &err), OD_OK);
    for (;;) {
        assert_int_equal(stream.get_next(&stream, &array), 0);
        if (!array.release)
            break;
        rows += array.length;
        array.release(&array);
    }
    assert_int_equal(rows, 50);
    assert_null(stream.get_last_error(&stream));
    stream.release(&stream);
}

static void a_lost_answer_is_asked_for_again(void **state)
{
    struct od_error err = {0};
    uint64_t rows;
    (void)state;
    fake.execute_steps[0] = fake.execute_steps[1] = OD_DISCONNECTED;
    assert_int_equal(run(NULL, NULL, &rows, &err), OD_OK);
    assert_int_equal(rows, 10);
    assert_int_equal(fake.executes, 3);
    assert_string_equal(fake.seen[0].request_id, fake.seen[1].request_id);
    assert_string_equal(fake.seen[0].request_id, fake.seen[2].request_id);
    assert_string_equal(fake.seen[0].first_incarnation, "");
    assert_string_equal(fake.seen[1].first_incarnation, "unknown");
    // Once the server is known, its incarnation is what a re-send carries.
    fake.execute_steps[3] = OD_DISCONNECTED;
    assert_int_equal(run(NULL, NULL, &rows, &err), OD_OK);
    assert_string_not_equal(fake.seen[3].request_id, fake.seen[0].request_id);
    assert_string_equal(fake.seen[3].first_incarnation, "");
    assert_string_equal(fake.seen[4].first_incarnation, "incarnation-1");
}

static void an_answer_lost_for_good_is_an_unknown_outcome(void **state)
{
    struct od_error err = {0};
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        fake.execute_steps[i] = OD_DISCONNECTED;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_OUTCOME_UNKNOWN);
    assert_int_equal(err.code, OD_OUTCOME_UNKNOWN);
    assert_false(err.retryable);
    assert_non_null(strstr(err.message, "may or may not"));
    assert_int_equal(fake.executes, 4);
}

static void a_read_whose_answer_is_lost_is_disconnected(void **state)
{
    struct od_error err = {0};
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        fake.execute_steps[i] = OD_DISCONNECTED;
    assert_int_equal(run(NULL, &(struct od_request){.read_only = true}, NULL, &err), OD_DISCONNECTED);
}

static void busy_is_waited_out(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.execute_steps[0] = fake.execute_steps[1] = OD_BUSY;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_OK);
    assert_int_equal(fake.executes, 3);
    assert_string_equal(fake.seen[2].first_incarnation, ""); // it never ran
}

static void busy_for_ever_is_busy(void **state)
{
    struct od_error err = {0};
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        fake.execute_steps[i] = OD_BUSY;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_BUSY);
    assert_int_equal(fake.executes, 4);
}

static void an_error_of_the_statement_is_final(void **state)
{
    static const od_code finals[] = {OD_SQL,       OD_NOT_FOUND, OD_UNAUTHENTICATED, OD_CATALOG_STALE,
                                     OD_NO_MEMORY, OD_LIMIT,     OD_RESULT_GONE,     OD_READ_ONLY};
    struct od_error err = {0};
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        fake.execute_steps[i] = finals[i];
        assert_int_equal(run(NULL, NULL, NULL, &err), finals[i]);
        assert_int_equal(fake.executes, i + 1);
    }
}

static void the_next_endpoint_is_asked_and_remembered(void **state)
{
    struct od_error err = {0};
    struct od_client_options options = {.struct_bytes = sizeof options};
    char address[128];
    struct od_client *two;
    struct od_client_traffic traffic;
    (void)state;
    snprintf(address, sizeof address, "127.0.0.1:1,http://%s", fake.address);
    options.address = address;
    assert_int_equal(od_client_open(&options, &two, &err), OD_OK);
    assert_int_equal(od_client_ping(two, NULL, 0, &err), OD_OK);
    od_client_get_traffic(two, &traffic);
    assert_int_equal(traffic.retries, 1);
    assert_int_equal(od_client_ping(two, NULL, 0, &err), OD_OK);
    od_client_get_traffic(two, &traffic);
    assert_int_equal(traffic.retries, 1);
    od_client_close(two);
}

static void nobody_there_is_unavailable(void **state)
{
    struct od_error err = {0};
    struct od_client_options options = {
        .struct_bytes = sizeof options, .address = "127.0.0.1:1", .connect_timeout_ms = 200};
    struct od_client *nobody;
    struct od_query *query;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "INSERT"};
    (void)state;
    assert_int_equal(od_client_open(&options, &nobody, &err), OD_OK);
    assert_int_equal(od_client_execute(nobody, NULL, &request, &query, &err), OD_UNAVAILABLE);
    assert_non_null(strstr(err.message, "127.0.0.1:1"));
    od_client_close(nobody);
}

static void ping_gives_the_version(void **state)
{
    char version[32];
    (void)state;
    assert_int_equal(od_client_ping(client, version, sizeof version, NULL), OD_OK);
    assert_string_equal(version, "9.9");
}

// ---- deadlines and cancelling

static void a_server_that_does_not_answer_runs_into_the_deadline(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.execute_steps[0] = FAKE_HANG;
    assert_int_equal(run(NULL, &(struct od_request){.timeout_ms = 50}, NULL, &err), OD_OUTCOME_UNKNOWN);
    fake_await(&fake, &fake.cancels, 1);
    assert_string_equal(fake.cancelled_id, fake.seen[0].request_id);
}

struct canceller {
    struct od_cancel *cancel;
    struct od_thread thread;
};

static void fire_when_it_hangs(void *argument)
{
    struct canceller *canceller = argument;
    fake_await(&fake, &fake.executes, 1);
    od_cancel_fire(canceller->cancel);
}

static void a_waiting_execute_can_be_cancelled(void **state)
{
    struct od_error err = {0};
    struct od_query *query;
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT n"};
    struct canceller canceller = {.cancel = od_cancel_new()};
    (void)state;
    fake.execute_steps[0] = FAKE_HANG;
    assert_int_equal(od_thread_start(&canceller.thread, "cancel", fire_when_it_hangs, &canceller, NULL), OD_OK);
    assert_int_equal(od_client_execute_with(client, NULL, &request, canceller.cancel, &query, &err), OD_CANCELLED);
    od_thread_join(&canceller.thread);
    fake_await(&fake, &fake.cancels, 1);
    assert_string_equal(fake.cancelled_id, fake.seen[0].request_id);
    od_cancel_unref(canceller.cancel);
}

// ---- wrong answers

static void wrong_totals_are_no_result(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.lie_rows = 1;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_CORRUPT);
    fake.lie_rows = 0;
    fake.lie_batches = -1;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_CORRUPT);
    fake.lie_batches = 0;
    fake.no_end = true;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_CORRUPT);
    fake.no_end = false;
    fake.wrong_rows = true;
    fake.lie_rows = 1;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_CORRUPT);
    assert_non_null(strstr(err.message, "said to have 11 rows"));
}

static void wrong_options_are_named(void **state)
{
    struct od_error err = {0};
    struct od_query *query;
    struct od_client *none;
    struct od_request request = {.sql = "SELECT 1"};
    struct od_client_options options = {.struct_bytes = sizeof options, .address = "host:99999"};
    (void)state;
    assert_int_equal(od_client_execute(client, NULL, &request, &query, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "struct_bytes"));
    request = (struct od_request){.struct_bytes = sizeof request, .sql = "a\0b", .sql_bytes = 3};
    assert_int_equal(od_client_execute(client, NULL, &request, &query, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "NUL"));
    assert_int_equal(od_client_open(&options, &none, &err), OD_INVALID);
    options.address = "host:1";
    options.token = "secret\n";
    assert_int_equal(od_client_open(&options, &none, &err), OD_INVALID);
    assert_null(strstr(err.message, "secret"));
    options.token = NULL;
    options.tls_ca_file = "/nonexistent/ca.pem";
    assert_int_equal(od_client_open(&options, &none, &err), OD_NOT_FOUND);
}

// ---- sessions

static void statements_of_a_session_are_numbered(void **state)
{
    struct od_error err = {0};
    struct od_session *session;
    (void)state;
    fake.execute_steps[1] = OD_SQL;
    fake.execute_steps[2] = OD_DISCONNECTED;
    fake.execute_steps[4] = OD_BUSY;
    assert_int_equal(od_session_open(client, "main", &session, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_SQL);
    assert_int_equal(run(session, NULL, NULL, &err), OD_OK); // sent twice
    assert_int_equal(run(session, NULL, NULL, &err), OD_OK); // refused once
    static const uint64_t expected[] = {1, 2, 3, 3, 4, 4};
    assert_int_equal(fake.executes, 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(fake.seen[i].sequence, expected[i]);
        assert_string_equal(fake.seen[i].session_id, fake.seen[0].session_id);
    }
    od_session_close(session);
    assert_int_equal(fake.closes, 1);
}

static void a_lost_session_stays_lost(void **state)
{
    struct od_error err = {0};
    struct od_session *session;
    (void)state;
    fake.execute_steps[1] = OD_SESSION_LOST;
    assert_int_equal(od_session_open(client, NULL, &session, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_SESSION_LOST);
    assert_int_equal(run(session, NULL, NULL, &err), OD_SESSION_LOST);
    assert_non_null(strstr(err.message, "open another"));
    assert_int_equal(fake.executes, 2);
    od_session_close(session);
    assert_int_equal(od_session_open(client, NULL, &session, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_OK);
    od_session_close(session);
}

static void an_unknown_outcome_ends_the_session(void **state)
{
    struct od_error err = {0};
    struct od_session *session;
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        fake.execute_steps[i] = OD_DISCONNECTED;
    assert_int_equal(od_session_open(client, NULL, &session, &err), OD_OK);
    assert_int_equal(run(session, NULL, NULL, &err), OD_OUTCOME_UNKNOWN);
    assert_int_equal(run(session, NULL, NULL, &err), OD_SESSION_LOST);
    od_session_close(session);
}

static void an_unused_session_costs_nothing(void **state)
{
    struct od_session *session;
    struct od_client_traffic traffic;
    (void)state;
    assert_int_equal(od_session_open(client, NULL, &session, NULL), OD_OK);
    od_session_close(session);
    od_client_get_traffic(client, &traffic);
    assert_int_equal(traffic.round_trips, 0);
}

// ---- servers of the first generation

static void a_first_generation_server_is_spoken_to_in_its_way(void **state)
{
    struct od_error err = {0};
    uint64_t rows;
    struct od_session *session;
    (void)state;
    fake.native = false;
    fake.batches = 3;
    assert_int_equal(run(NULL, NULL, &rows, &err), OD_OK);
    assert_int_equal(rows, 30);
    assert_int_equal(run(NULL, NULL, &rows, &err), OD_OK); // remembered: no second try of Execute
    assert_int_equal(fake.server_infos, 1);
    assert_int_equal(fake.fragments, 2);
    assert_int_equal(od_client_ping(client, NULL, 0, &err), OD_OK);
    assert_int_equal(od_session_open(client, NULL, &session, NULL), OD_OK);
    assert_int_equal(run(session, NULL, &rows, &err), OD_UNSUPPORTED);
    od_session_close(session);
}

static void a_first_generation_result_without_its_end_is_an_error(void **state)
{
    struct od_error err = {0};
    (void)state;
    fake.native = false;
    fake.batches = 3;
    fake.no_finished = true;
    assert_int_equal(run(NULL, NULL, NULL, &err), OD_DISCONNECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_small_result_takes_one_call),
        TEST(a_result_as_an_arrow_stream),
        TEST(a_lost_answer_is_asked_for_again),
        TEST(an_answer_lost_for_good_is_an_unknown_outcome),
        TEST(a_read_whose_answer_is_lost_is_disconnected),
        TEST(busy_is_waited_out),
        TEST(busy_for_ever_is_busy),
        TEST(an_error_of_the_statement_is_final),
        TEST(the_next_endpoint_is_asked_and_remembered),
        TEST(nobody_there_is_unavailable),
        TEST(ping_gives_the_version),
        TEST(a_server_that_does_not_answer_runs_into_the_deadline),
        TEST(a_waiting_execute_can_be_cancelled),
        TEST(wrong_totals_are_no_result),
        TEST(wrong_options_are_named),
        TEST(statements_of_a_session_are_numbered),
        TEST(a_lost_session_stays_lost),
        TEST(an_unknown_outcome_ends_the_session),
        TEST(an_unused_session_costs_nothing),
        TEST(a_first_generation_server_is_spoken_to_in_its_way),
        TEST(a_first_generation_result_without_its_end_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
