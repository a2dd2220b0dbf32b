#include <stdlib.h>
#include <unistd.h>

#include "cli/bench.h"

static const char *const kinds[BENCH_KINDS] = {"read", "put", "rmw"};
static const struct {
    const char *name;
    double fraction;
} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

/* utime and stime are the 14th and 15th field; the second is the name, which may hold blanks and parentheses.
 */
static double process_cpu_us(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[size] = '\0';
    const char *at = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (at == NULL ||
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

double bench_server_cpu_us(const struct bench_options *options)
{
    double sum = 0;
    for (uint32_t i = 0; i < options->pid_count; i++) sum += process_cpu_us(options->pids[i]);
    return sum;
}

static const char *status_of(int status)
{
    return status == BENCH_LOST ? "CONNECTION_LOST" : dynode_status_name((enum dynode_status)status);
}

/* Operations that came back as they should: a read-modify-write counts once. */
static uint64_t operations_of(const struct bench_result *result)
{
    uint64_t halves = result->latency[BENCH_RMW].count;
    return result->latency[BENCH_READ].count + result->latency[BENCH_PUT].count - halves;
}

static uint64_t errors_of(const struct bench_result *result)
{
    uint64_t errors = 0;
    for (int i = 0; i < BENCH_STATUSES; i++) {
        if (i != DYNODE_OK && i != DYNODE_NOT_FOUND) errors += result->statuses[i];
    }
    return errors;
}

bool bench_failed(const struct bench_result *result)
{
    return operations_of(result) == 0 && errors_of(result) > 0;
}

static double seconds_of(const struct bench_result *result)
{
    return (double)(result->ended_ns - result->began_ns) / 1e9;
}

void bench_report(const struct bench_options *options, const char *phase, const struct bench_result *result)
{
    uint64_t operations = operations_of(result);
    double seconds = seconds_of(result);
    printf("%-9s %10.0f op/s   %llu operations in %.2f s\n", phase,
           seconds > 0 ? (double)operations / seconds : 0, (unsigned long long)operations, seconds);
    for (int kind = 0; kind < BENCH_KINDS; kind++) {
        const struct histogram *latency = &result->latency[kind];
        if (latency->count == 0) continue;
        printf("  %-6s", kinds[kind]);
        for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
            printf(" %s %.3f ", percentiles[i].name,
                   (double)histogram_percentile(latency, percentiles[i].fraction) / 1e6);
        printf(" max %.3f ms\n", (double)latency->max / 1e6);
    }
    if (operations > 0 && options->pid_count > 0)
        printf("  CPU    server %.1f us/op, generator %.2f us/op\n",
               result->server_cpu_us / (double)operations, result->generator_cpu_us / (double)operations);
    else if (operations > 0)
        printf("  CPU    generator %.2f us/op\n", result->generator_cpu_us / (double)operations);
    for (int i = 1; i < BENCH_STATUSES; i++) {
        if (result->statuses[i] > 0)
            printf("  %-6s %s %llu\n", i == DYNODE_NOT_FOUND ? "" : "error", status_of(i),
                   (unsigned long long)result->statuses[i]);
    }
    if (result->siblings > 0)
        printf("  %llu reads returned more than one sibling\n", (unsigned long long)result->siblings);
    if (options->check)
        printf("  %llu values were not what was written\n", (unsigned long long)result->wrong);
    double asked = options->rate * seconds;
    if (strcmp(phase, bench_mix_load.name) != 0 && (double)operations < 0.95 * asked)
        printf("  BEHIND the %.0f op/s asked for: these latencies are of the queue\n", options->rate);
    if (result->stalled) printf("  STOPPED: every connection broke, or nothing was answered for 15 s\n");
    fflush(stdout);
}

json_t *bench_json(const struct bench_options *options, const char *phase, const struct bench_result *result)
{
    uint64_t operations = operations_of(result);
    double seconds = seconds_of(result);
    double divisor = operations > 0 ? (double)operations : 1;
    json_t *object =
        json_pack("{s:s, s:I, s:f, s:f, s:I, s:I, s:I, s:b, s:f}", "phase", phase, "operations",
                  (json_int_t)operations, "seconds", seconds, "rate",
                  seconds > 0 ? (double)operations / seconds : 0.0, "errors", (json_int_t)errors_of(result),
                  "siblings", (json_int_t)result->siblings, "wrong", (json_int_t)result->wrong, "stalled",
                  result->stalled, "generator_cpu_us_per_operation", result->generator_cpu_us / divisor);
    if (options->pid_count > 0)
        json_object_set_new(object, "server_cpu_us_per_operation",
                            json_real(result->server_cpu_us / divisor));
    json_t *statuses = json_object();
    for (int i = 0; i < BENCH_STATUSES; i++) {
        if (result->statuses[i] > 0)
            json_object_set_new(statuses, status_of(i), json_integer((json_int_t)result->statuses[i]));
    }
    json_object_set_new(object, "statuses", statuses);
    json_t *latencies = json_object();
    for (int kind = 0; kind < BENCH_KINDS; kind++) {
        const struct histogram *latency = &result->latency[kind];
        if (latency->count == 0) continue;
        json_t *numbers = json_pack("{s:I, s:f}", "count", (json_int_t)latency->count, "mean_ms",
                                    (double)latency->sum / (double)latency->count / 1e6);
        for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
            char name[16];
            snprintf(name, sizeof(name), "%s_ms", percentiles[i].name);
            json_object_set_new(
                numbers, name,
                json_real((double)histogram_percentile(latency, percentiles[i].fraction) / 1e6));
        }
        json_object_set_new(numbers, "max_ms", json_real((double)latency->max / 1e6));
        json_object_set_new(latencies, kinds[kind], numbers);
    }
    json_object_set_new(object, "latency", latencies);
    return object;
}
