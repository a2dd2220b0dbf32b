/* Log: one line on standard error for each thing that somebody who runs a node may have to know, written at
 * once:
 *
 *      2026-01-31T12:00:00.123Z warn client 127.0.0.1:40100: ended: it sent no hello in time
 *
 * Any thread may log. Actors do not: they count (actor/counters.h). What others can cause as often as they
 * like goes through a log_rate, or they could fill a disk. */
#pragma once

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { LOG_LINE_BYTES_MAX = 1024, LOG_RATE_LINES = 10 /* a second */ };

/* What is less urgent than @level is left out. Before any thread is started; at first LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* No newline in @format; bytes that are not printable are shown as '?'. */
__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

/* At most LOG_RATE_LINES a second; how many were left out is said with the next one. One thread's own; zeroed
 * is valid. */
struct log_rate {
    uint64_t second;
    uint32_t lines, left_out;
};

__attribute__((format(printf, 3, 4))) void log_line_rated(struct log_rate *rate, enum log_level level,
                                                          const char *format, ...);
