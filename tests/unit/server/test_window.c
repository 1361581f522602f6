// Tests of src/server/window.c, the last one against a simple model.
#include "base/alloc.h"
#include "server/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned alive;

static void released(void *owner)
{
    (void)owner;
    alive--;
}

static struct od_batch *batch_of(size_t bytes)
{
    static const uint8_t zeros[4096];
    const struct od_segment segment = {zeros, bytes};
    struct od_batch *batch = od_batch_new(&segment, 1, bytes / 10, bytes + 5, released, NULL);
    assert_non_null(batch);
    alive++;
    return batch;
}

static void add(struct od_window *window, size_t bytes)
{
    assert_int_equal(od_window_add(window, batch_of(bytes), NULL), OD_OK);
}

static uint64_t send_all(struct od_window *window)
{
    uint64_t number, count = 0;
    while (od_window_send(window, &number))
        count++;
    return count;
}

static void test_window_bounds_what_is_in_flight(void **state)
{
    (void)state;
    struct od_window w;
    od_window_init(&w, 250);
    assert_true(od_window_wants(&w));
    for (int i = 0; i < 5; i++)
        add(&w, 100);
    assert_int_equal(w.held, 525);
    assert_int_equal(w.rows, 50);
    assert_int_equal(send_all(&w), 2);
    assert_false(od_window_wants(&w));
    assert_int_equal(od_window_acknowledge(&w, 1, NULL), OD_OK);
    assert_int_equal(send_all(&w), 1);
    assert_int_equal(alive, 4);
    assert_int_equal(od_window_acknowledge(&w, 3, NULL), OD_OK);
    assert_int_equal(od_window_acknowledge(&w, 2, NULL), OD_OK); // old news
    assert_int_equal(send_all(&w), 2);
    assert_int_equal(w.in_flight, 200);
    assert_int_equal(od_window_acknowledge(&w, 6, NULL), OD_INVALID);
    od_window_release(&w);
    assert_int_equal(alive, 0);
    assert_int_equal(w.held, 0);
}

static void test_one_batch_always_fits(void **state)
{
    (void)state;
    struct od_window w;
    od_window_init(&w, 10);
    add(&w, 1000);
    add(&w, 1000);
    assert_int_equal(send_all(&w), 1);
    assert_int_equal(od_window_acknowledge(&w, 1, NULL), OD_OK);
    assert_int_equal(send_all(&w), 1);
    od_window_release(&w);
}

static void test_resume(void **state)
{
    (void)state;
    struct od_window w;
    struct od_error err = {0};
    uint64_t number;
    od_window_init(&w, 1000);
    for (int i = 0; i < 6; i++)
        add(&w, 100);
    assert_int_equal(send_all(&w), 6);
    assert_int_equal(od_window_acknowledge(&w, 2, NULL), OD_OK);
    assert_int_equal(od_window_open(&w, 1, 1000, &err), OD_BATCH_GONE);
    assert_int_equal(od_window_open(&w, 7, 1000, &err), OD_INVALID);
    assert_int_equal(od_window_open(&w, 3, 150, &err), OD_OK);
    assert_int_equal(alive, 3);
    assert_non_null(od_window_send(&w, &number));
    assert_int_equal(number, 3);
    assert_null(od_window_send(&w, &number)); // the new stream's window is smaller
    // An acknowledgement may name what only the stream before had sent.
    assert_int_equal(od_window_acknowledge(&w, 6, NULL), OD_OK);
    assert_int_equal(w.in_flight + w.unsent, 0);
    assert_int_equal(od_window_open(&w, 6, 150, &err), OD_OK);
    add(&w, 100);
    assert_non_null(od_window_send(&w, &number));
    assert_int_equal(number, 6);
    od_window_release(&w);
}

static void test_slide(void **state)
{
    (void)state;
    struct od_window w;
    od_window_init(&w, 1000);
    for (int i = 0; i < 6; i++)
        add(&w, 100);
    assert_int_equal(send_all(&w), 6);
    od_window_slide(&w, 250);
    assert_int_equal(w.base, 4);
    add(&w, 100);
    od_window_slide(&w, 0); // what was not sent stays
    assert_int_equal(w.base, 6);
    assert_int_equal(send_all(&w), 1);
    od_window_release(&w);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct od_window w;
    struct od_error err = {0};
    od_window_init(&w, 1000);
    struct od_batch *batch = batch_of(100);
    od_fault_arm(0, true);
    assert_int_equal(od_window_add(&w, batch, &err), OD_NO_MEMORY);
    od_fault_disarm();
    assert_int_equal(alive, 0);
    assert_int_equal(w.next, 0);
    od_window_release(&w);
}

// Batch n has 1 + n % 50 bytes; the model is the list of numbers.
static void check_model(const struct od_window *w)
{
    uint64_t in_flight = 0, unsent = 0;
    for (uint64_t n = w->base; n < w->next; n++) {
        assert_int_equal(od_window_peek(w, n)->bytes, 1 + n % 50);
        *(n < w->cursor ? &in_flight : &unsent) += 1 + n % 50;
    }
    assert_int_equal(w->in_flight, in_flight);
    assert_int_equal(w->unsent, unsent);
    assert_true(w->base <= w->cursor && w->cursor <= w->next && w->cursor <= w->sent && w->sent <= w->next);
    assert_int_equal(alive, w->next - w->base);
    assert_null(od_window_peek(w, w->next));
}

static void test_random_walk(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct od_window w;
        unsigned random = seed;
        od_window_init(&w, 100);
        for (int step = 0; step < 500; step++) {
            unsigned r = (unsigned)rand_r(&random);
            uint64_t number;
            switch (r % 6) {
            case 0:
            case 1:
                add(&w, 1 + w.next % 50);
                break;
            case 2:
                (void)od_window_send(&w, &number);
                break;
            case 3:
                assert_int_equal(od_window_acknowledge(&w, w.sent ? r / 6 % (w.sent + 1) : 0, NULL), OD_OK);
                break;
            case 4:
                assert_int_equal(od_window_open(&w, w.base + (r / 6) % (w.sent - w.base + 1), 50 + r % 100, NULL),
                                 OD_OK);
                break;
            default:
                od_window_slide(&w, r / 6 % 100);
                break;
            }
            check_model(&w);
        }
        od_window_release(&w);
        assert_int_equal(alive, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_bounds_what_is_in_flight),
        cmocka_unit_test(test_one_batch_always_fits),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_slide),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
