// log.h - one line per event on standard error: time, level, area, text, key=value pairs written by the caller.
#ifndef OD_BASE_LOG_H
#define OD_BASE_LOG_H

#include "base/cdecl.h"

OD_BEGIN_C

enum od_log_level { OD_LOG_ERROR, OD_LOG_WARN, OD_LOG_INFO, OD_LOG_DEBUG };

void od_log_set_level(enum od_log_level level);
// area is the folder or noun ("server", "execution"). Thread-safe; never fails.
void od_log(enum od_log_level level, const char *area, const char *format, ...) __attribute__((format(printf, 3, 4)));

OD_END_C

#endif
