/* Driver: what stands in for libFuzzer in a build without clang: replay a target's corpus, then a few
 * thousand mutations of it, the same for the same seed.
 *
 *      NAME_fuzz PATH...                directories or files. FUZZ_SEED and FUZZ_COUNT change what follows
 * the replay.
 *
 * When a case ends the process it is left behind as crash-NAME in the working directory: NAME_fuzz crash-NAME
 * with FUZZ_COUNT=0 repeats it. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"
#include "fuzz.h"

#pragma weak LLVMFuzzerCustomMutator
void __sanitizer_set_death_callback(void (*callback)(void));
#pragma weak __sanitizer_set_death_callback

enum { FILES_MAX = 4096, INPUT_BYTES_MAX = 256 * 1024, COUNT_DEFAULT = 3000 };

static struct prng prng;
static struct bytes corpus[FILES_MAX];
static size_t corpus_count;
static struct bytes current;
static char crash_name[128];

/* Async-signal-safe. */
static void leave_behind(void)
{
    int fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return;
    bool written = write(fd, current.data, current.size) == (ssize_t)current.size;
    static const char text[] = "\nthe input was left behind as ";
    if (written && write(2, text, sizeof(text) - 1) > 0 && write(2, crash_name, strlen(crash_name)) > 0)
        (void)!write(2, "\n", 1);
    close(fd);
}

static void on_signal(int number)
{
    leave_behind();
    signal(number, SIG_DFL);
    raise(number);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 8, 10, 16};
    size_t at = size > 0 ? prng_below(&prng, size) : 0;
    size_t run = 1 + prng_below(&prng, prng_chance(&prng, 1, 8) ? 64 : 4);
    switch (size == 0 ? 0 : prng_below(&prng, 6)) {
    case 0: /* insert */
        if (size + run > size_max) return size;
        memmove(data + at + run, data + at, size - at);
        for (size_t i = 0; i < run; i++) data[at + i] = (uint8_t)prng_next(&prng);
        return size + run;
    case 1: /* cut out */
        if (run > size - at) run = size - at;
        memmove(data + at, data + at + run, size - at - run);
        return size - run;
    case 2:
        data[at] ^= (uint8_t)(1U << prng_below(&prng, 8));
        return size;
    case 3:
        data[at] = edges[prng_below(&prng, sizeof(edges))];
        return size;
    case 4: /* repeat */
        if (run > size - at) run = size - at;
        if (size + run > size_max) return size;
        memmove(data + at + run, data + at, size - at);
        return size + run;
    default: /* copy within */
        if (run > size - at) run = size - at;
        memmove(data + prng_below(&prng, size - run + 1), data + at, run);
        return size;
    }
}

static void run(struct bytes input)
{
    /* Of its very size, so that a read behind it is seen. */
    uint8_t *copy = malloc(input.size == 0 ? 1 : input.size);
    CHECK(copy != NULL);
    if (input.size > 0) memcpy(copy, input.data, input.size);
    current = bytes_of(copy, input.size);
    CHECK(LLVMFuzzerTestOneInput(copy, input.size) == 0);
    current = bytes_of(NULL, 0);
    free(copy);
}

static void read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(corpus_count < FILES_MAX);
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    CHECK(data != NULL);
    size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    corpus[corpus_count++] = bytes_of(data, size);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_path(const char *path)
{
    struct stat about;
    CHECK(stat(path, &about) == 0);
    if (!S_ISDIR(about.st_mode)) {
        read_file(path);
        return;
    }
    struct dirent **list;
    int count = scandir(path, &list, NULL, by_name);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, list[i]->d_name);
        if (list[i]->d_name[0] != '.') read_file(name);
        free(list[i]);
    }
    free(list);
}

static void mutate_and_run(uint8_t *work, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct bytes from = corpus[prng_below(&prng, corpus_count)];
        size_t size = from.size;
        if (size > 0) memcpy(work, from.data, size);
        for (uint64_t steps = 1 + prng_below(&prng, 4); steps > 0; steps--)
            size = LLVMFuzzerCustomMutator != NULL
                       ? LLVMFuzzerCustomMutator(work, size, INPUT_BYTES_MAX, (unsigned)prng_next(&prng))
                       : LLVMFuzzerMutate(work, size, INPUT_BYTES_MAX);
        run(bytes_of(work, size));
    }
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
    uint64_t seed = setting("FUZZ_SEED", 1), count = setting("FUZZ_COUNT", COUNT_DEFAULT);
    const char *name = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
    printf("%s: FUZZ_SEED=%" PRIu64 " FUZZ_COUNT=%" PRIu64 "\n", name, seed, count);
    fflush(stdout);
    snprintf(crash_name, sizeof(crash_name), "crash-%s", name);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__sanitizer_set_death_callback != NULL) __sanitizer_set_death_callback(leave_behind);
    prng_init(&prng, seed);
    for (int i = 1; i < argc; i++) read_path(argv[i]);
    CHECK(corpus_count > 0);
    for (size_t i = 0; i < corpus_count; i++) run(corpus[i]);
    uint8_t *work = malloc(INPUT_BYTES_MAX);
    CHECK(work != NULL);
    mutate_and_run(work, count);
    printf("%zu kept inputs and %" PRIu64 " mutations of them\n", corpus_count, count);
    for (size_t i = 0; i < corpus_count; i++) free((void *)(uintptr_t)corpus[i].data);
    free(work);
    return 0;
}
