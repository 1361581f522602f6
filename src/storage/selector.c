// selector.c - see selector.h.
#include "storage/selector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool od_selector_position(const char *text, uint64_t *epoch, uint64_t *lsn)
{
    char *end;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 20)
        return false;
    *epoch = 0;
    *lsn = strtoull(text, &end, 10);
    if (*end == '.' && strspn(end + 1, "0123456789") == strlen(end + 1) && end[1]) {
        *epoch = *lsn;
        *lsn = strtoull(end + 1, &end, 10);
    }
    return *end == '\0';
}

// YYYY-MM-DD[( |T)HH:MM[:SS[.ffffff]]][Z|+HH[:MM]|-HH[:MM]]
bool od_selector_time(const char *text, uint64_t *us)
{
    struct tm parts = {0};
    int used = 0, hours = 0, minutes = 0;
    uint64_t fraction = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &used) != 3)
        return false;
    text += used;
    if (*text == ' ' || *text == 'T') {
        used = 0;
        if (sscanf(text + 1, "%2d:%2d%n", &parts.tm_hour, &parts.tm_min, &used) != 2)
            return false;
        text += 1 + used;
        if (*text == ':') {
            used = 0;
            if (sscanf(text + 1, "%2d%n", &parts.tm_sec, &used) != 1)
                return false;
            text += 1 + used;
        }
        if (*text == '.') {
            uint64_t unit = 100000;
            for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
                fraction += unit * (uint64_t)(*text - '0');
        }
    }
    int sign = *text == '+' ? 1 : *text == '-' ? -1 : 0;
    if (*text == 'Z' || *text == 'z') {
        text++;
    } else if (sign) {
        used = 0;
        if (sscanf(text + 1, "%2d%n", &hours, &used) != 1)
            return false;
        text += 1 + used;
        used = 0;
        if (*text == ':' && sscanf(text + 1, "%2d%n", &minutes, &used) == 1)
            text += 1 + used;
    }
    if (*text || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 ||
        parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon--;
    int64_t seconds = timegm(&parts) - sign * (hours * 3600 + minutes * 60);
    if (seconds < 0)
        return false;
    *us = (uint64_t)seconds * 1000000 + fraction;
    return true;
}
