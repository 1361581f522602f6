// test_meter.c - estimates follow what is observed, and nonsense does not change them.
#include "plan/meter.h"
#include "support/fault.h"

#include <math.h>
#include <string.h>

static void round_trips_follow_the_shortest(void **state)
{
    (void)state;
    struct od_link_meter meter = {0};
    od_link_meter_answered(&meter, 0.020);
    assert_true(meter.round_trip_s == 0.020);
    od_link_meter_answered(&meter, 0.001);
    assert_true(meter.round_trip_s == 0.001);
    od_link_meter_answered(&meter, 5); // a long statement
    assert_true(meter.round_trip_s < 0.0011);
    od_link_meter_answered(&meter, 0.001);
    assert_true(meter.round_trip_s == 0.001);
    for (int i = 0; i < 200; i++) // the link is slower now
        od_link_meter_answered(&meter, 0.050);
    assert_true(meter.round_trip_s > 0.045);
    double known = meter.round_trip_s;
    od_link_meter_answered(&meter, 0);
    od_link_meter_answered(&meter, -1);
    od_link_meter_answered(&meter, (double)NAN);
    assert_true(meter.round_trip_s == known);
}

static void bandwidth_follows_the_fastest(void **state)
{
    (void)state;
    struct od_link_meter meter = {0};
    od_link_meter_moved(&meter, OD_METER_DOWN, OD_METER_BYTES_MIN - 1, 1); // too few to tell
    assert_true(meter.bytes_per_s[OD_METER_DOWN] == 0);
    od_link_meter_moved(&meter, OD_METER_DOWN, 10000000, 1);
    assert_true(meter.bytes_per_s[OD_METER_DOWN] == 1e7);
    assert_true(meter.bytes_per_s[OD_METER_UP] == 0);
    for (int i = 0; i < 8; i++)
        od_link_meter_moved(&meter, OD_METER_DOWN, 100000000, 1);
    assert_true(meter.bytes_per_s[OD_METER_DOWN] > 0.99e8);
    od_link_meter_moved(&meter, OD_METER_DOWN, 1000000, 1); // a slow statement, not a slow link
    assert_true(meter.bytes_per_s[OD_METER_DOWN] > 0.9e8);
    for (int i = 0; i < 300; i++)
        od_link_meter_moved(&meter, OD_METER_DOWN, 1000000, 1);
    assert_true(meter.bytes_per_s[OD_METER_DOWN] < 1.1e6);
    double known = meter.bytes_per_s[OD_METER_DOWN];
    meter.round_trip_s = 0.02;
    od_link_meter_moved(&meter, OD_METER_DOWN, 1000000, 0.001); // it was there already
    assert_true(meter.bytes_per_s[OD_METER_DOWN] == known);
    od_link_meter_moved(&meter, OD_METER_UP, 1000000, 0);
    od_link_meter_moved(&meter, OD_METER_UP, 1000000, (double)NAN);
    assert_true(meter.bytes_per_s[OD_METER_UP] == 0);
}

static void rows_are_remembered_and_bounded(void **state)
{
    (void)state;
    static struct od_observed observed;
    double rows;
    uint64_t key = od_observed_key("SELECT 1", 8);
    assert_true(key != 0 && key != od_observed_key("SELECT 2", 8) && key == od_observed_key("SELECT 1", 8));
    assert_true(od_observed_key("", 0) != 0);
    assert_false(od_observed_get(&observed, key, &rows));
    od_observed_put(&observed, key, 7);
    assert_true(od_observed_get(&observed, key, &rows) && rows == 7);
    od_observed_put(&observed, key, 9);
    assert_true(od_observed_get(&observed, key, &rows) && rows == 9);
    od_observed_put(&observed, key + OD_OBSERVED_SLOTS, 1); // takes its place
    assert_false(od_observed_get(&observed, key, &rows));
    assert_true(od_observed_get(&observed, key + OD_OBSERVED_SLOTS, &rows) && rows == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_follow_the_shortest),
        cmocka_unit_test(bandwidth_follows_the_fastest),
        cmocka_unit_test(rows_are_remembered_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
