#include "storage/extents.h"
#include "support/fault.h"

#include <string.h>

// Against a file whose byte i is the number of the piece that wrote it and the place within that piece.
static void pieces_cover_each_other(void **state)
{
    (void)state;
    enum { BYTES = 400 };
    struct od_extents extents = {0};
    struct {
        uint64_t hash;
        uint32_t at;
    } model[BYTES] = {{0}};
    uint32_t seed = 7;
    for (uint64_t step = 1; step < 3000; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t offset = seed >> 8 & 255, bytes = 1 + (seed >> 16) % 100;
        if (step % 13 == 0) {
            od_extents_truncate(&extents, offset);
            for (uint32_t i = offset; i < BYTES; i++)
                model[i].hash = 0;
            continue;
        }
        assert_int_equal(od_extents_prepare(&extents, NULL), OD_OK);
        od_extents_overlay(&extents, (struct od_extent){offset, 16, step, 0, bytes, bytes, 0});
        for (uint32_t i = 0; i < bytes; i++) {
            model[offset + i].hash = step;
            model[offset + i].at = i;
        }
        uint64_t end = 0;
        for (size_t i = 0; i < extents.count; i++) {
            assert_true(extents.items[i].offset >= end && extents.items[i].bytes > 0);
            end = extents.items[i].offset + extents.items[i].bytes;
        }
        for (uint32_t i = 0; i < BYTES; i++) {
            size_t index = od_extents_find(&extents, i);
            bool there = index < extents.count && extents.items[index].offset <= i;
            assert_int_equal(there ? extents.items[index].hash : 0, model[i].hash);
            if (there)
                assert_int_equal(extents.items[index].skip + i - extents.items[index].offset, model[i].at);
        }
    }
    struct od_extents copy;
    assert_int_equal(od_extents_copy(&copy, &extents, NULL), OD_OK);
    assert_int_equal(copy.count, extents.count);
    assert_memory_equal(copy.items, extents.items, copy.count * sizeof *copy.items);
    od_extents_release(&copy);
    od_extents_release(&extents);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_cover_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
