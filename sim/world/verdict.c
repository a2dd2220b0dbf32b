#include "world/verdict.h"

#include <stdarg.h>
#include <stdio.h>

bool verdict_fault(struct verdict *verdict, const char *format, ...)
{
    if (!verdict_good(verdict)) return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(verdict->why, sizeof(verdict->why), format, arguments);
    va_end(arguments);
    return false;
}

struct verdict_when verdict_when(uint64_t from_ns, uint64_t until_ns)
{
    struct verdict_when when = {.text = ""};
    if (until_ns < UINT64_MAX - 1)
        snprintf(when.text, sizeof(when.text), " at %.3f ms (answered at %.3f ms)", in_ms(from_ns),
                 in_ms(until_ns));
    return when;
}
