// duckdb_file.h - private: what stands at the beginning of a database file that DuckDB wrote: three header blocks of 4096
// bytes, each with its check. Nothing else of DuckDB's format is known here.
#ifndef OD_STORAGE_DUCKDB_FILE_H
#define OD_STORAGE_DUCKDB_FILE_H

#include "base/error.h"

#include <stdint.h>

// `headers`: the first OD_GRID_ORIGIN bytes of a file of `bytes`. *block_bytes: the size of its blocks. Refused, with the
// path: OD_UNSUPPORTED (not a DuckDB database, an encrypted one, a block size that nobody writes), OD_CORRUPT (a header whose
// check is wrong, a file that ends before the block its header begins with).
OD_CHECKED od_code od_duckdb_file_check(const uint8_t *headers, uint64_t bytes, const char *path, uint32_t *block_bytes,
                                        struct od_error *err);

#endif
