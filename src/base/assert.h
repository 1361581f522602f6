// assert.h - assertions that stay on in release. For programmer errors only, never for input, disk or network.
#ifndef OD_BASE_ASSERT_H
#define OD_BASE_ASSERT_H

#include "base/cdecl.h"

OD_BEGIN_C

OD_NORETURN void od_assert_failed(const char *expression, const char *file, int line);

#define od_assert(expression) ((expression) ? (void)0 : od_assert_failed(#expression, __FILE__, __LINE__))

OD_END_C

#endif
