// test_record.c - the bytes of headers, records and barriers: they come back as they were, a changed bit is noticed, and
// the layouts are the ones that were written before (golden/).
#include "storage/record.h"
#include "support/fault.h"

#include <stdio.h>
#include <string.h>

static const struct od_journal_header HEADER = {
    .layer = {{1, 2, 3}},
    .branch = {{4, 5, 6}},
    .parent = {{7, 8, 9}},
    .epoch = 11,
    .first_lsn = 4096,
    .parent_chain = 0x1122334455667788,
    .time_us = 1700000000000000,
    .depth = 5,
    .block_bytes = 262144,
};

static struct od_barrier some_barrier(void)
{
    struct od_barrier barrier = {
        .durable_lsn = 4096,
        .time_us = 1700000000000001,
        .files = {{true, 12288}, {true, 0}, {false, 0}, {true, 77}},
        .has_entry = true,
        .entry = {.request_id = "a-request", .changed_rows = 3},
    };
    return barrier;
}

// A journal's first bytes: header block, a write, a barrier.
static size_t encode_all(uint8_t *out)
{
    uint64_t chain, seed = od_record_seed(&HEADER.layer);
    struct od_journal_header header;
    struct od_barrier barrier = some_barrier();
    uint8_t payload[OD_BARRIER_BYTES_MAX];
    od_journal_header_encode(&HEADER, out);
    assert_int_equal(od_journal_header_decode(out, "x", &header, &chain, NULL), OD_OK);
    size_t bytes = OD_JOURNAL_HEADER_BYTES;
    struct od_record write = {.op = OD_RECORD_WRITE,
                              .file = OD_VOLUME_WAL,
                              .lsn = 4096,
                              .offset = 5,
                              .bytes = 5,
                              .payload_hash = od_storage_hash("hello", 5, 0)};
    od_record_encode(&write, seed, chain, out + bytes);
    memset(out + bytes + OD_RECORD_HEADER_BYTES, 0, 16);
    memcpy(out + bytes + OD_RECORD_HEADER_BYTES, "hello", 5);
    bytes += od_record_bytes(5);
    struct od_record end = {.op = OD_RECORD_BARRIER, .lsn = 4096 + od_record_bytes(5)};
    end.bytes = od_barrier_encode(&barrier, payload);
    end.payload_hash = od_storage_hash(payload, end.bytes, 0);
    od_record_encode(&end, seed, write.chain, out + bytes);
    memset(out + bytes + OD_RECORD_HEADER_BYTES, 0, od_record_bytes(end.bytes) - OD_RECORD_HEADER_BYTES);
    memcpy(out + bytes + OD_RECORD_HEADER_BYTES, payload, end.bytes);
    return bytes + od_record_bytes(end.bytes);
}

static void a_header_comes_back(void **state)
{
    (void)state;
    uint8_t block[OD_JOURNAL_HEADER_BYTES];
    struct od_journal_header header;
    struct od_error err;
    uint64_t chain;
    od_journal_header_encode(&HEADER, block);
    assert_int_equal(od_journal_header_decode(block, "f", &header, &chain, NULL), OD_OK);
    assert_true(od_uuid_equal(&header.layer, &HEADER.layer) && od_uuid_equal(&header.branch, &HEADER.branch) &&
                od_uuid_equal(&header.parent, &HEADER.parent));
    assert_true(header.epoch == HEADER.epoch && header.first_lsn == HEADER.first_lsn &&
                header.parent_chain == HEADER.parent_chain && header.time_us == HEADER.time_us &&
                header.depth == HEADER.depth && header.block_bytes == HEADER.block_bytes);
    for (unsigned bit = 0; bit < 8 * sizeof block; bit += bit < 1000 ? 1 : 977) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        od_code expected = bit / 8 >= 8 && bit / 8 < 12 ? OD_UNSUPPORTED : OD_CORRUPT;
        assert_int_equal(od_journal_header_decode(block, "the-file", &header, &chain, &err), expected);
        assert_non_null(strstr(err.message, "the-file"));
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_record_knows_its_place(void **state)
{
    (void)state;
    static uint8_t all[8192];
    encode_all(all);
    uint8_t *at = all + OD_JOURNAL_HEADER_BYTES;
    uint64_t seed = od_record_seed(&HEADER.layer);
    struct od_record record;
    assert_true(od_record_decode(at, seed, 4096, &record));
    assert_true(record.op == OD_RECORD_WRITE && record.file == OD_VOLUME_WAL && record.offset == 5 &&
                record.bytes == 5);
    assert_false(od_record_decode(at, seed, 4112, &record));
    assert_false(od_record_decode(at, seed + 1, 4096, &record));
    for (unsigned bit = 0; bit < 8 * 40; bit++) { // behind it is the chain, which needs the record before
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(od_record_decode(at, seed, 4096, &record));
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(od_record_decode(at, seed, 4096, &record));
    assert_int_not_equal(od_record_chain(at, 1), od_record_chain(at, 2));
}

static void a_barrier_comes_back(void **state)
{
    (void)state;
    uint8_t payload[OD_BARRIER_BYTES_MAX];
    struct od_barrier barrier = some_barrier(), out;
    uint32_t bytes = od_barrier_encode(&barrier, payload);
    assert_true(od_barrier_decode(payload, bytes, &out));
    assert_int_equal(out.durable_lsn, barrier.durable_lsn);
    assert_int_equal(out.time_us, barrier.time_us);
    assert_memory_equal(out.files, barrier.files, sizeof out.files);
    assert_string_equal(out.entry.request_id, "a-request");
    assert_int_equal(out.entry.changed_rows, 3);
    for (uint32_t i = 0; i < bytes; i++)
        assert_false(od_barrier_decode(payload, i, &out));
    barrier.has_entry = false;
    bytes = od_barrier_encode(&barrier, payload);
    assert_true(od_barrier_decode(payload, bytes, &out));
    assert_false(out.has_entry);
    memset(barrier.entry.request_id, 'x', OD_REQUEST_ID_BYTES - 1);
    barrier.has_entry = true;
    assert_true(od_barrier_encode(&barrier, payload) <= OD_BARRIER_BYTES_MAX);
}

static void the_layout_is_the_old_one(void **state)
{
    (void)state;
    static uint8_t all[8192], golden[8192];
    size_t bytes = encode_all(all);
    FILE *file = fopen(OD_GOLDEN "/journal-v1.bin", "rb");
    assert_non_null(file);
    size_t got = fread(golden, 1, sizeof golden, file);
    fclose(file);
    assert_int_equal(got, bytes);
    assert_memory_equal(golden, all, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back),
        cmocka_unit_test(a_record_knows_its_place),
        cmocka_unit_test(a_barrier_comes_back),
        cmocka_unit_test(the_layout_is_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
