/* dynode-judge: the checkers of the simulated worlds, for histories of real processes (history_file.h). */
#include <stdio.h>
#include <string.h>

#include "world/history_file.h"

static const char usage[] =
    "usage: dynode-judge FILE\n"
    "\n"
    "Reads the history of a table that somebody wrote down (sim/world/history_file.h) and judges it with\n"
    "every checker that may ask its question of it. A line for each: `good NAME`, or `FAULT NAME: WHY`.\n"
    "\n"
    "Exit status: 0 if all is good, 1 if there is a fault, 2 if the file cannot be read.\n";

/* Nodes that were paused answer late, and are not known here: only what was answered is judged. */
static bool judge_answers(struct history_file *file, struct verdict *verdict)
{
    struct answer_rules rules = {.grace_ns = UINT64_MAX / 4};
    return checker_answers(&file->history, &rules, verdict);
}

struct bench {
    struct history_file *file;
    struct cover cover;
    bool good;
};

static bool say(struct bench *bench, const char *name, const struct verdict *verdict)
{
    if (verdict_good(verdict))
        printf("good %s\n", name);
    else
        printf("FAULT %s: %s\n", name, verdict->why);
    bench->good &= verdict_good(verdict);
    return verdict_good(verdict);
}

#define JUDGE(bench, name, ...)                                                                              \
    do {                                                                                                     \
        struct verdict verdict = {{0}};                                                                      \
        __VA_ARGS__;                                                                                         \
        say(bench, name, &verdict);                                                                          \
    } while (0)

static void judge_covered(struct bench *bench)
{
    struct history_file *file = bench->file;
    struct cover *cover = &bench->cover;
    bool overlap = file->strict && file->w + file->n / 2 + 1 > file->n;
    if (file->history.lww) {
        JUDGE(bench, "final", checker_final_lww(cover, &verdict));
        if (file->strict) JUDGE(bench, "register", checker_register_lww(cover, &verdict));
        JUDGE(bench, "condition", checker_condition_lww(cover, overlap, &verdict));
        return;
    }
    JUDGE(bench, "final", checker_final(cover, &verdict));
    if (file->strict) JUDGE(bench, "register", checker_register(cover, &verdict));
    if (file->strict) JUDGE(bench, "session", checker_session(cover, &verdict));
    JUDGE(bench, "merge", checker_merge(cover, file->contents, file->strict, &verdict));
    JUDGE(bench, "condition", checker_condition(cover, overlap, &verdict));
}

static bool judge(struct history_file *file)
{
    struct bench bench = {.file = file, .good = true};
    struct verdict told = {{0}}, shape = {{0}};
    cover_build(&bench.cover, &file->history);
    if (file->damage[0] != 0) verdict_fault(&told, "%s", file->damage);
    say(&bench, "values", &told);
    JUDGE(&bench, "answers", judge_answers(file, &verdict));
    /* The others take for granted that tokens name writes. */
    checker_siblings(&bench.cover, &shape);
    if (say(&bench, "siblings", &shape)) {
        JUDGE(&bench, "stamps", checker_stamps(&bench.cover, &verdict));
        judge_covered(&bench);
    }
    if (file->copy_count > 0)
        JUDGE(&bench, "copies", checker_copies(file->copies, file->copy_count, &verdict));
    cover_fini(&bench.cover);
    return bench.good;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc != 2) {
        fputs(usage, stderr);
        return 2;
    }
    FILE *from = fopen(argv[1], "r");
    if (from == NULL) {
        perror(argv[1]);
        return 2;
    }
    struct history_file file;
    char why[256];
    bool read = history_file_read(from, &file, why);
    fclose(from);
    if (!read) {
        fprintf(stderr, "dynode-judge: %s, %s\n", argv[1], why);
        return 2;
    }
    bool good = judge(&file);
    history_file_fini(&file);
    return good ? 0 : 1;
}
