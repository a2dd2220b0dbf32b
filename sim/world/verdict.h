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

/* " at 1.000 ms (answered at 2.000 ms)": of the operation in which a fault was found, so that whoever tells
 * the story of it goes on to its answer. Of one that is not answered, or of a look in the end, nothing. */
struct verdict_when {
    char text[64];
};

struct verdict_when verdict_when(uint64_t from_ns, uint64_t until_ns);

/* A moment or a span, in the unit of the trace. */
static inline double in_ms(uint64_t ns)
{
    return (double)ns / 1e6;
}
