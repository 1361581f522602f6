// Tests of src/server/execution_core.c on fake time: the rules E1 to E8, and a random walk that must always end.
#include "server/execution_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct od_execution_times times = {
    .reply_delay_ms = 100,
    .abandon_grace_ms = 50,
    .ticket_open_ms = 10000,
    .park_grace_ms = 100,
    .park_ms = 10000,
    .end_grace_ms = 1000,
    .unread_ms = 60000,
    .stall_ms = 50000,
};

static struct od_execution_core core;

static int setup(void **state)
{
    (void)state;
    od_execution_init(&core, &times, true, OD_NEVER, 1000);
    return 0;
}

static void step(enum od_execution_event event, uint64_t now, unsigned expected)
{
    unsigned actions = od_execution_step(&core, event, now);
    if (actions != expected)
        fail_msg("event %d at %llu: actions %u, expected %u", event, (unsigned long long)now, actions, expected);
}

static void begin(void)
{
    step(OD_EVENT_BEGIN, 1000, 0);
}

// ---- E1

static void test_answered_when_done(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_READY, 1010, 0);
    step(OD_EVENT_DONE, 1020, OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1020, OD_ACTION_FORGET);
    assert_int_equal(od_execution_next_ms(&core), OD_NEVER);
}

static void test_answered_when_full(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_COLLECTED, 1005, 0); // never before the schema
    step(OD_EVENT_READY, 1010, OD_ACTION_REPLY);
    step(OD_EVENT_HANDED, 1010, 0);
    step(OD_EVENT_REPLIED_PART, 1010, 0);
    assert_int_equal(od_execution_next_ms(&core), 11010);
}

static void test_answered_after_a_while(void **state)
{
    (void)state;
    begin();
    assert_int_equal(od_execution_next_ms(&core), 1100);
    step(OD_EVENT_READY, 1010, 0);
    step(OD_EVENT_TICK, 1099, 0);
    step(OD_EVENT_TICK, 1100, OD_ACTION_REPLY);
}

static void test_late_schema_is_answered_at_once(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_TICK, 1100, 0);
    assert_int_equal(od_execution_next_ms(&core), OD_NEVER); // nothing to wake for
    step(OD_EVENT_READY, 1500, OD_ACTION_REPLY);
}

// ---- E2

static void test_abandoned_before_anything(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    assert_int_equal(od_execution_next_ms(&core), 1060);
    step(OD_EVENT_TICK, 1060, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 1065, OD_ACTION_REPLY); // to nobody
    step(OD_EVENT_REPLIED, 1065, OD_ACTION_FORGET);
}

static void test_comes_again_in_time(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_CALLER_JOINED, 1040, 0);
    step(OD_EVENT_TICK, 1060, 0);
    step(OD_EVENT_DONE, 1065, OD_ACTION_REPLY);
}

static void test_comes_again_after_the_interrupt(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_READY, 1005, 0);
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_TICK, 1060, OD_ACTION_INTERRUPT);
    step(OD_EVENT_CALLER_JOINED, 1062, 0);
    step(OD_EVENT_DONE_NOTHING, 1065, OD_ACTION_RERUN);
    step(OD_EVENT_TICK, 1100, 0);
    step(OD_EVENT_READY, 1110, 0);
    assert_int_equal(core.stop, OD_STOP_NONE);
    step(OD_EVENT_DONE, 1120, OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1120, OD_ACTION_FORGET);
}

static void test_outcome_wins_over_the_interrupt(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_TICK, 1060, OD_ACTION_INTERRUPT);
    step(OD_EVENT_CALLER_JOINED, 1062, 0);
    step(OD_EVENT_DONE, 1065, OD_ACTION_REPLY); // it had committed: not run again
    step(OD_EVENT_REPLIED, 1065, OD_ACTION_FORGET);
}

static void test_not_repeatable(void **state)
{
    (void)state;
    begin();
    core.repeatable = false;
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_TICK, 1060, OD_ACTION_INTERRUPT);
    step(OD_EVENT_CALLER_JOINED, 1062, 0);
    step(OD_EVENT_DONE_NOTHING, 1065, OD_ACTION_REPLY); // with the error
}

static void test_dropped_from_the_queue(void **state)
{
    (void)state;
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_TICK, 1060, OD_ACTION_DROP | OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1060, OD_ACTION_FORGET);
    step(OD_EVENT_BEGIN, 1061, 0);
    assert_int_equal(core.phase, OD_PHASE_DONE); // an executor that comes late finds nothing to do
}

// ---- E3, E4

static void answered_with_ticket(bool handed)
{
    begin();
    step(OD_EVENT_READY, 1010, 0);
    step(OD_EVENT_TICK, 1100, OD_ACTION_REPLY);
    if (handed)
        step(OD_EVENT_HANDED, 1100, 0);
    step(OD_EVENT_REPLIED_PART, 1100, 0);
}

static void test_ticket_not_used(void **state)
{
    (void)state;
    answered_with_ticket(false);
    step(OD_EVENT_TICK, 11099, 0);
    step(OD_EVENT_TICK, 11100, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 11105, OD_ACTION_FORGET);
}

static void test_lost_answer_shortens_the_ticket(void **state)
{
    (void)state;
    answered_with_ticket(false);
    step(OD_EVENT_REPLY_LOST, 1200, 0);
    step(OD_EVENT_TICK, 2200, OD_ACTION_INTERRUPT);
}

static void test_stream_broken_before_the_first_batch(void **state)
{
    (void)state;
    answered_with_ticket(false);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN, 1300, 0);
    step(OD_EVENT_TICK, 1350, OD_ACTION_INTERRUPT);
    // The client executes again: the answer it got before is void.
    step(OD_EVENT_CALLER_JOINED, 1352, 0);
    step(OD_EVENT_DONE_NOTHING, 1355, OD_ACTION_RERUN);
}

static void test_parked_and_resumed(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN, 2000, 0);
    step(OD_EVENT_TICK_BUSY, 2099, 0);
    step(OD_EVENT_TICK, 2100, 0); // its queue is full: it may stay
    step(OD_EVENT_STREAM_OPENED, 9000, 0);
    step(OD_EVENT_TICK, 12000, 0);
    step(OD_EVENT_DONE, 12001, 0);
    step(OD_EVENT_END_SENT, 12002, 0);
    step(OD_EVENT_ACKNOWLEDGED, 12003, OD_ACTION_CLOSE_STREAM);
    step(OD_EVENT_STREAM_CLOSED, 12004, OD_ACTION_FORGET);
}

static void test_parked_for_too_long(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN, 2000, 0);
    step(OD_EVENT_TICK, 2100, 0);
    step(OD_EVENT_TICK, 12000, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 12001, OD_ACTION_FORGET);
}

static void test_busy_ones_are_not_parked(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN, 2000, 0);
    step(OD_EVENT_TICK_BUSY, 2100, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 2105, OD_ACTION_FORGET);
}

static void test_no_room_to_park(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN_FULL, 2000, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 2005, OD_ACTION_FORGET);
}

static void test_finished_result_waits_for_its_reader(void **state)
{
    (void)state;
    answered_with_ticket(false);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_DONE, 1300, 0);
    step(OD_EVENT_STREAM_BROKEN, 1400, 0); // nothing was handed out, but nothing runs either
    step(OD_EVENT_TICK_BUSY, 5000, 0);
    step(OD_EVENT_STREAM_OPENED, 6000, 0);
    step(OD_EVENT_STREAM_BROKEN, 7000, 0);
    step(OD_EVENT_TICK, 17000, OD_ACTION_FORGET);
}

static void test_end_is_not_waited_for_forever(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_DONE, 1300, 0);
    step(OD_EVENT_END_SENT, 1400, 0);
    step(OD_EVENT_TICK, 2400, OD_ACTION_CLOSE_STREAM);
    step(OD_EVENT_STREAM_BROKEN, 2401, 0); // the end did not get through
    step(OD_EVENT_STREAM_OPENED, 2500, 0);
    step(OD_EVENT_END_SENT, 2501, 0);
    step(OD_EVENT_STREAM_CLOSED, 2502, OD_ACTION_FORGET);
}

// ---- E5, E6, E7

static void test_deadline(void **state)
{
    (void)state;
    od_execution_init(&core, &times, true, 1500, 1000);
    begin();
    step(OD_EVENT_TICK, 1500, OD_ACTION_INTERRUPT);
    assert_int_equal(core.stop, OD_STOP_TIMEOUT);
    step(OD_EVENT_CANCEL, 1501, 0);
    assert_int_equal(core.stop, OD_STOP_TIMEOUT); // the first reason
    step(OD_EVENT_DONE_NOTHING, 1502, OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1502, OD_ACTION_FORGET);
}

static void test_deadline_in_the_queue(void **state)
{
    (void)state;
    od_execution_init(&core, &times, true, 1050, 1000);
    step(OD_EVENT_TICK, 1050, OD_ACTION_DROP | OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1050, OD_ACTION_FORGET);
}

static void test_deadline_does_not_hit_a_finished_statement(void **state)
{
    (void)state;
    od_execution_init(&core, &times, true, 1500, 1000);
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_DONE, 1300, 0);
    step(OD_EVENT_TICK, 1500, 0);
    assert_int_equal(core.stop, OD_STOP_NONE);
}

static void test_cancel_running(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CANCEL, 1010, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 1011, OD_ACTION_REPLY); // a cancelled one is not run again
    step(OD_EVENT_REPLIED, 1011, OD_ACTION_FORGET);
}

static void test_cancel_after_commit(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CANCEL, 1010, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE, 1011, OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1011, OD_ACTION_FORGET);
}

static void test_cancel_overrides_abandonment(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_CALLER_LEFT, 1010, 0);
    step(OD_EVENT_TICK, 1060, OD_ACTION_INTERRUPT);
    step(OD_EVENT_CANCEL, 1061, OD_ACTION_INTERRUPT);
    step(OD_EVENT_CALLER_JOINED, 1062, 0);
    step(OD_EVENT_DONE_NOTHING, 1063, OD_ACTION_REPLY);
}

static void test_cancel_while_streaming(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 1200, 0);
    step(OD_EVENT_CANCEL, 1300, OD_ACTION_INTERRUPT);
    step(OD_EVENT_DONE_NOTHING, 1301, 0);
    step(OD_EVENT_STREAM_CLOSED, 1302, OD_ACTION_FORGET); // after the client was told
}

static void test_cancel_unread_result(void **state)
{
    (void)state;
    answered_with_ticket(false);
    step(OD_EVENT_DONE, 1200, 0);
    step(OD_EVENT_CANCEL, 1300, OD_ACTION_INTERRUPT | OD_ACTION_FORGET);
}

static void test_unread(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 2000, 0);
    step(OD_EVENT_PROGRESS, 30000, 0);
    step(OD_EVENT_TICK, 80000, OD_ACTION_SPILL); // and if that does not help
    step(OD_EVENT_TICK, 89999, 0);
    step(OD_EVENT_TICK, 90000, OD_ACTION_INTERRUPT);
    assert_int_equal(core.stop, OD_STOP_UNREAD);
}

static void test_stalled(void **state)
{
    (void)state;
    answered_with_ticket(true);
    step(OD_EVENT_STREAM_OPENED, 2000, 0);
    step(OD_EVENT_PROGRESS, 30000, 0);
    step(OD_EVENT_TICK, 79999, 0);
    assert_int_equal(od_execution_next_ms(&core), 80000);
    step(OD_EVENT_TICK, 80000, OD_ACTION_SPILL);
    step(OD_EVENT_PROGRESS, 81000, 0);
    step(OD_EVENT_TICK, 131000, OD_ACTION_SPILL); // again, should it be held back again
    step(OD_EVENT_DONE, 132000, 0);
    step(OD_EVENT_TICK, 140999, 0);
    assert_int_equal(core.stop, OD_STOP_NONE);
    assert_int_equal(od_execution_next_ms(&core), 141000); // unread
}

static void test_not_forgotten_while_it_runs(void **state)
{
    (void)state;
    begin();
    step(OD_EVENT_READY, 1010, 0);
    step(OD_EVENT_TICK, 1100, OD_ACTION_REPLY);
    step(OD_EVENT_REPLIED, 1100, 0); // everything was in the answer, the statement is just about to end
    step(OD_EVENT_DONE, 1101, OD_ACTION_FORGET);
}

static void test_one_call_for_everything(void **state)
{
    (void)state;
    od_execution_init(&core, &times, false, OD_NEVER, 1000);
    begin();
    step(OD_EVENT_READY, 1010, 0);
    step(OD_EVENT_TICK, 1100, 0);
    step(OD_EVENT_HANDED, 1200, 0);
    step(OD_EVENT_STREAM_BROKEN, 1300, OD_ACTION_INTERRUPT); // no second call can come
    step(OD_EVENT_DONE_NOTHING, 1301, OD_ACTION_FORGET);
}

// Whatever happens in whatever order, an execution ends, is answered at most once a run and forgotten exactly once.
static void test_random_walk(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 2000; seed++) {
        unsigned random = seed;
        uint64_t now = 1000;
        unsigned replies = 0, forgets = 0, reruns = 0;
        bool attached = false, replying = false;
        od_execution_init(&core, &times, true, seed % 3 ? OD_NEVER : 1400, now);
        unsigned callers = 1;
        for (int i = 0; i < 400 && !forgets; i++) {
            unsigned r = (unsigned)rand_r(&random);
            enum od_execution_event event = OD_EVENT_TICK;
            bool late = i > 200; // from then on nobody comes any more
            now += late ? 5000 : r / 64 % 60;
            if (replying) {
                event = core.phase == OD_PHASE_DONE && r % 2 ? OD_EVENT_REPLIED : OD_EVENT_REPLIED_PART;
                callers = 0;
                replying = false;
            } else {
                switch (r % 12) {
                case 0:
                    event = OD_EVENT_BEGIN;
                    break;
                case 1:
                    event = core.phase == OD_PHASE_RUNNING ? OD_EVENT_READY : OD_EVENT_TICK;
                    break;
                case 2:
                    event = core.phase == OD_PHASE_RUNNING ? OD_EVENT_DONE : OD_EVENT_TICK;
                    break;
                case 3:
                    event = core.phase == OD_PHASE_RUNNING && core.stop ? OD_EVENT_DONE_NOTHING : OD_EVENT_TICK_BUSY;
                    break;
                case 4:
                    if (callers && !core.replied) {
                        callers--;
                        event = OD_EVENT_CALLER_LEFT;
                    }
                    break;
                case 5:
                    if (!late && !core.replied && callers < 3) {
                        callers++;
                        event = OD_EVENT_CALLER_JOINED;
                    }
                    break;
                case 6:
                    if (!late && core.replied) {
                        attached = true;
                        event = OD_EVENT_STREAM_OPENED;
                    }
                    break;
                case 7:
                    if (attached) {
                        attached = false;
                        event = r % 5 == 0   ? OD_EVENT_STREAM_CLOSED
                                : r % 5 == 1 ? OD_EVENT_STREAM_BROKEN_FULL
                                             : OD_EVENT_STREAM_BROKEN;
                    }
                    break;
                case 8:
                    if (attached)
                        event = OD_EVENT_HANDED;
                    break;
                case 9:
                    event = r % 40 == 0 ? OD_EVENT_CANCEL : OD_EVENT_TICK;
                    break;
                default:
                    break;
                }
                // An interrupted statement ends.
                if (late && core.phase != OD_PHASE_DONE && event == OD_EVENT_TICK)
                    event = core.phase == OD_PHASE_WAITING ? OD_EVENT_BEGIN : OD_EVENT_DONE;
            }
            unsigned actions = od_execution_step(&core, event, now);
            replies += (actions & OD_ACTION_REPLY) != 0;
            replying |= (actions & OD_ACTION_REPLY) != 0;
            reruns += (actions & OD_ACTION_RERUN) != 0;
            forgets += (actions & OD_ACTION_FORGET) != 0;
            if (actions & OD_ACTION_FORGET) {
                assert_true(core.phase == OD_PHASE_DONE);
                assert_false(attached);
                assert_int_equal(callers, 0);
            }
        }
        if (forgets != 1)
            fail_msg("seed %u: forgotten %u times, phase %d stop %d callers %u replied %d attached %d over %d", seed,
                     forgets, core.phase, core.stop, core.callers, core.replied, core.attached, core.over);
        assert_true(replies >= 1);
        for (int i = 0; i < 20; i++)
            assert_int_equal(od_execution_step(&core, OD_EVENT_TICK, now += 100000) & OD_ACTION_FORGET, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_answered_when_done, setup),
        cmocka_unit_test_setup(test_answered_when_full, setup),
        cmocka_unit_test_setup(test_answered_after_a_while, setup),
        cmocka_unit_test_setup(test_late_schema_is_answered_at_once, setup),
        cmocka_unit_test_setup(test_abandoned_before_anything, setup),
        cmocka_unit_test_setup(test_comes_again_in_time, setup),
        cmocka_unit_test_setup(test_comes_again_after_the_interrupt, setup),
        cmocka_unit_test_setup(test_outcome_wins_over_the_interrupt, setup),
        cmocka_unit_test_setup(test_not_repeatable, setup),
        cmocka_unit_test_setup(test_dropped_from_the_queue, setup),
        cmocka_unit_test_setup(test_ticket_not_used, setup),
        cmocka_unit_test_setup(test_lost_answer_shortens_the_ticket, setup),
        cmocka_unit_test_setup(test_stream_broken_before_the_first_batch, setup),
        cmocka_unit_test_setup(test_parked_and_resumed, setup),
        cmocka_unit_test_setup(test_parked_for_too_long, setup),
        cmocka_unit_test_setup(test_busy_ones_are_not_parked, setup),
        cmocka_unit_test_setup(test_no_room_to_park, setup),
        cmocka_unit_test_setup(test_finished_result_waits_for_its_reader, setup),
        cmocka_unit_test_setup(test_end_is_not_waited_for_forever, setup),
        cmocka_unit_test_setup(test_deadline, setup),
        cmocka_unit_test_setup(test_deadline_in_the_queue, setup),
        cmocka_unit_test_setup(test_deadline_does_not_hit_a_finished_statement, setup),
        cmocka_unit_test_setup(test_cancel_running, setup),
        cmocka_unit_test_setup(test_cancel_after_commit, setup),
        cmocka_unit_test_setup(test_cancel_overrides_abandonment, setup),
        cmocka_unit_test_setup(test_cancel_while_streaming, setup),
        cmocka_unit_test_setup(test_cancel_unread_result, setup),
        cmocka_unit_test_setup(test_unread, setup),
        cmocka_unit_test_setup(test_stalled, setup),
        cmocka_unit_test_setup(test_not_forgotten_while_it_runs, setup),
        cmocka_unit_test_setup(test_one_call_for_everything, setup),
        cmocka_unit_test_setup(test_random_walk, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
