/* Verdict: what checkers, and clients themselves, found wrong with a run: nothing, or the first fault, in
 * words for whoever looks for its cause in the trace. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct verdict {
    char why[256]; /* empty: no fault was found */
};

/* Note a fault, if it is the first. False, so that a checker can return it. */
__attribute__((format(printf, 2, 3))) bool verdict_fault(struct verdict *verdict, const char *format, ...);

static inline bool verdict_good(const struct verdict *verdict)
{
    return verdict->why[0] == 0;
}

/* A moment or a span, in the unit of the trace. */
static inline double in_ms(uint64_t ns)
{
    return (double)ns / 1e6;
}
