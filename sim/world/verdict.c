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
