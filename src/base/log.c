#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int log_level_set = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&log_level_set, (int)level);
}

static void write_line(enum log_level level, const char *format, va_list arguments, uint32_t left_out)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[LOG_LINE_BYTES_MAX];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    size +=
        (size_t)snprintf(line + size, sizeof line - size, ".%03ldZ %s ", now.tv_nsec / 1000000, names[level]);
    size_t text = size, room = sizeof line - size - 64; /* for what is left out, and the newline */
    int written = vsnprintf(line + size, room, format, arguments);
    if (written > 0) size += (size_t)written < room ? (size_t)written : room - 1;
    for (size_t i = text; i < size; i++) {
        if (line[i] < ' ' || line[i] > '~') line[i] = '?';
    }
    if (left_out > 0) {
        size += (size_t)snprintf(line + size, sizeof line - size - 1, " (%u more were left out)", left_out);
    }
    line[size++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, size); /* one call, so that lines of threads do not mix */
    (void)ignored;
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&log_level_set, memory_order_relaxed)) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(level, format, arguments, 0);
    va_end(arguments);
}

void log_line_rated(struct log_rate *rate, enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&log_level_set, memory_order_relaxed)) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if ((uint64_t)now.tv_sec != rate->second) {
        rate->second = (uint64_t)now.tv_sec;
        rate->lines = 0;
    }
    if (++rate->lines > LOG_RATE_LINES) {
        rate->left_out++;
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    write_line(level, format, arguments, rate->left_out);
    va_end(arguments);
    rate->left_out = 0;
}
