/* Self: what this process has taken so far, for benchmarks that run worlds. */
#pragma once

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

/* Of the CPU's time: this process's own, as others may be on the machine. */
static inline double self_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline double self_resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL);
    long pages = 0;
    CHECK(fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}
