// report.c - see report.h.
#include "cli/report.h"

#include "os/clock.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_MS 200u

void od_print_json(FILE *file, const char *text)
{
    if (!text) {
        fputs("null", file);
        return;
    }
    putc('"', file);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            putc('\\', file);
        if ((unsigned char)*at < 0x20)
            fprintf(file, "\\u%04x", (unsigned)(unsigned char)*at);
        else
            putc(*at, file);
    }
    putc('"', file);
}

void od_print_problem(bool json, const char *key, const struct od_error *why)
{
    if (json) {
        fputs("{\"object\":", stdout);
        od_print_json(stdout, key);
        printf(",\"code\":\"%s\",\"message\":", od_code_name(why->code));
        od_print_json(stdout, why->message);
        fputs("}\n", stdout);
    } else if (strncmp(why->message, key, strlen(key)) == 0) {
        puts(why->message);
    } else {
        printf("%s: %s\n", key, why->message);
    }
}

void od_format_time(uint64_t us, char out[OD_TIME_BYTES])
{
    struct tm parts;
    time_t seconds = (time_t)(us / 1000000);
    char text[24];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out, OD_TIME_BYTES, "%s.%06uZ", text, (unsigned)(us % 1000000));
}

void od_format_size(uint64_t bytes, char out[OD_SIZE_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    int unit = -1;
    while (size >= 1024 && unit < 5) {
        size /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(out, OD_SIZE_BYTES, "%u bytes", (unsigned)bytes);
    else
        snprintf(out, OD_SIZE_BYTES, "%.1f %s", size, units[unit]);
}

void od_progress_begin(struct od_progress *progress, bool wanted)
{
    *progress = (struct od_progress){.wanted = wanted && isatty(STDERR_FILENO), .drawn_ms = od_clock_ms()};
}

void od_progress_draw(struct od_progress *progress, const char *format, ...)
{
    uint64_t now_ms = od_clock_ms();
    if (!progress->wanted || now_ms - progress->drawn_ms < DRAW_EVERY_MS)
        return;
    va_list arguments;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
    progress->drawn = true;
    progress->drawn_ms = now_ms;
}

void od_progress_end(struct od_progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
