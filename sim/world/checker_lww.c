/* Checkers 4 and 1 where the latest stamp wins: what is there was not over before an acknowledged write
 * began.
 *
 *      write a  |-----|                    a stamp lies between its write's beginning and its end,
 *      write b           |-----|           give or take what the clocks differ: so b beats a,
 *      write c        |-----|              and between those two and c it may go either way
 *
 * An absent key was deleted, or what won has expired; that write must not be older either.
 *
 * That is as vague as the clocks are apart. Two things are exact whatever they show: a write has a later
 * stamp than all that its context covers, so that nothing covered by an acknowledged write is ever read
 * again; and where answers told stamps, none is read that is older than that of an acknowledged write. By
 * these a session reads its own writes.
 *
 * A conditional write that succeeded has read a majority of the homes: its condition is judged as a read. */
#include <stdlib.h>

#include "base/check.h"
#include "world/checker.h"
#include "world/frontier.h"

/* Stamps are in milliseconds: writes this close may go either way. */
static const uint64_t stamp_ns = 2000000;

/* A write that leaves nothing behind: from when it may have, and how late its stamp may be. */
struct removal {
    uint64_t from_ns, until_ns;
};

struct latest {
    uint64_t put_ns, write_ns; /* when the latest acknowledged one began */
    uint32_t put, write, next;
    uint64_t stamp_ms; /* the latest that is known, and whose it is */
    uint32_t stamp;
    struct removal *removals; /* until: of this one or any before it */
    uint32_t removal_count;
};

static int by_from(const void *a, const void *b)
{
    const struct removal *x = a, *y = b;
    return x->from_ns < y->from_ns ? -1 : x->from_ns > y->from_ns;
}

static void latest_init(struct latest *latest, const struct cover *cover, uint32_t key)
{
    const struct history *history = cover->history;
    struct removal *removals = latest->removals;
    *latest = (struct latest){.removals = removals, .next = cover->acked_first[key]};
    for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1]; i++) {
        const struct op *op = history_op(history, cover->ops[i]);
        if (op->outcome == OUTCOME_FAIL || op->kind == OP_GET || (op->kind == OP_PUT && op->ttl_ns == 0))
            continue;
        uint64_t from_ns =
            op->invoked_ns + (op->ttl_ns > history->skew_ns ? op->ttl_ns - history->skew_ns : 0);
        removals[latest->removal_count++] = (struct removal){from_ns, history_minted_by(history, op)};
    }
    qsort(removals, latest->removal_count, sizeof(*removals), by_from);
    for (uint32_t i = 1; i < latest->removal_count; i++)
        if (removals[i].until_ns < removals[i - 1].until_ns) removals[i].until_ns = removals[i - 1].until_ns;
}

static bool is_any(const struct cover *cover, const struct op *op)
{
    (void)cover;
    (void)op;
    return true;
}

static bool is_conditional(const struct cover *cover, const struct op *op)
{
    (void)cover;
    return (op->flags & (OP_IF_CONTEXT | OP_IF_ABSENT)) != 0;
}

/* Its stamp, as answers told it; 0: unknown, or it may have been minted twice. */
static uint64_t stamp_of(const struct op *op)
{
    return op->flags & OP_REPEATED ? 0 : op->written_ms;
}

static void advance(struct latest *latest, const struct cover *cover, uint32_t key, uint64_t now_ns,
                    frontier_choice *counts)
{
    for (; latest->next < cover->acked_first[key + 1]; latest->next++) {
        uint32_t token = cover->acked[latest->next];
        const struct op *op = history_op(cover->history, token);
        if (op->returned_ns >= now_ns) break;
        if (!counts(cover, op)) continue;
        if (stamp_of(op) > latest->stamp_ms) latest->stamp_ms = stamp_of(op), latest->stamp = token;
        if (op->invoked_ns >= latest->write_ns) latest->write_ns = op->invoked_ns, latest->write = token;
        if (op->kind == OP_PUT && op->invoked_ns >= latest->put_ns)
            latest->put_ns = op->invoked_ns, latest->put = token;
    }
}

/* How late the stamp of what is there may be; false: nothing explains it. */
static bool there_until(const struct cover *cover, const struct latest *latest, struct tokens seen,
                        uint64_t now_ns, uint64_t *until_ns)
{
    if (seen.count > 0) {
        *until_ns = history_minted_by(cover->history, history_op(cover->history, seen.list[0]));
        return true;
    }
    uint32_t low = 0, high = latest->removal_count; /* the first that begins after @now_ns */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (latest->removals[middle].from_ns <= now_ns)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) *until_ns = latest->removals[low - 1].until_ns;
    return low > 0;
}

/* When @number asked and was answered; of a look in the end, at UINT64_MAX, nothing. */
static struct verdict_when when(const struct cover *cover, uint32_t number, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX) return verdict_when(0, UINT64_MAX);
    const struct op *op = history_op(cover->history, number);
    return verdict_when(op->invoked_ns, op->returned_ns);
}

static bool judge(const struct cover *cover, const struct latest *latest, struct tokens seen, uint64_t now_ns,
                  const char *what, uint32_t number, uint32_t key, struct verdict *verdict)
{
    /* A delete is not missed where nothing is there. */
    uint64_t begun_ns = seen.count > 0 ? latest->write_ns : latest->put_ns, until_ns;
    uint32_t token = seen.count > 0 ? latest->write : latest->put;
    if (token == 0) return true;
    uint64_t slack_ns = stamp_ns + cover->history->skew_ns;
    if (there_until(cover, latest, seen, now_ns, &until_ns) &&
        (until_ns > UINT64_MAX - slack_ns || begun_ns <= until_ns + slack_ns))
        return true;
    return verdict_fault(verdict,
                         "%s %u of key %u%s finds %s, though write %u, begun at %.3f ms and acknowledged at "
                         "%.3f ms, is later",
                         what, number, key, when(cover, number, now_ns).text,
                         seen.count > 0 ? "an older write" : "nothing", token, in_ms(begun_ns),
                         in_ms(history_op(cover->history, token)->returned_ns));
}

/* What is exact, whatever the clocks show. */
static bool judge_exactly(const struct cover *cover, const struct latest *latest, struct tokens seen,
                          uint64_t from_ns, frontier_choice *counts, const char *what, uint32_t number,
                          uint32_t key, struct verdict *verdict)
{
    for (uint32_t i = 0; i < seen.count; i++) {
        uint32_t token = seen.list[i], by = cover->superseded_by[token - 1];
        const struct op *op = history_op(cover->history, token);
        if (op->flags & OP_REPEATED) continue;
        if (cover->superseded_ns[token - 1] < from_ns && counts(cover, history_op(cover->history, by)))
            return verdict_fault(
                verdict,
                "%s %u of key %u%s finds an older write: %u, though %u, acknowledged at %.3f ms, covers it",
                what, number, key, when(cover, number, from_ns).text, token, by,
                in_ms(cover->superseded_ns[token - 1]));
        if (stamp_of(op) != 0 && stamp_of(op) < latest->stamp_ms)
            return verdict_fault(
                verdict,
                "%s %u of key %u%s finds an older write: %u, %llu ms before write %u by their stamps", what,
                number, key, when(cover, number, from_ns).text, token,
                (unsigned long long)(latest->stamp_ms - stamp_of(op)), latest->stamp);
    }
    return true;
}

static struct removal *removals_of(const struct history *history)
{
    struct removal *removals = calloc(history->count + 1, sizeof(*removals));
    CHECK(removals != NULL);
    return removals;
}

bool checker_register_lww(struct cover *cover, struct verdict *verdict)
{
    const struct history *history = cover->history;
    struct latest latest = {.removals = removals_of(history)};
    bool good = true;
    for (uint32_t key = 0; key < history->keys && good; key++) {
        latest_init(&latest, cover, key);
        for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1] && good; i++) {
            const struct op *op = history_op(history, cover->ops[i]);
            if (!cover_is_reader(cover, op)) continue;
            struct tokens seen = history_list(history, op->seen);
            advance(&latest, cover, key, op->invoked_ns, cover_counts);
            good = judge_exactly(cover, &latest, seen, op->invoked_ns, cover_counts, "read", cover->ops[i],
                                 key, verdict) &&
                   judge(cover, &latest, seen, op->returned_ns, "read", cover->ops[i], key, verdict);
        }
    }
    free(latest.removals);
    return good;
}

static bool meets_majorities(const struct cover *cover, const struct op *op)
{
    return is_conditional(cover, op) || cover_counts(cover, op);
}

bool checker_condition_lww(struct cover *cover, bool overlap, struct verdict *verdict)
{
    const struct history *history = cover->history;
    frontier_choice *counts = overlap ? meets_majorities : is_conditional;
    struct latest latest = {.removals = removals_of(history)};
    bool good = true;
    for (uint32_t key = 0; key < history->keys && good; key++) {
        latest_init(&latest, cover, key);
        for (uint32_t i = cover->ops_first[key]; i < cover->ops_first[key + 1] && good; i++) {
            const struct op *op = history_op(history, cover->ops[i]);
            if (op->kind == OP_GET || op->outcome != OUTCOME_OK || !is_conditional(cover, op)) continue;
            struct tokens expected = {0};
            if (op->flags & OP_IF_CONTEXT) expected = history_list(history, op->covers);
            advance(&latest, cover, key, op->invoked_ns, counts);
            good = judge_exactly(cover, &latest, expected, op->invoked_ns, counts, "the condition of write",
                                 cover->ops[i], key, verdict) &&
                   judge(cover, &latest, expected, op->returned_ns, "the condition of write", cover->ops[i],
                         key, verdict);
        }
    }
    free(latest.removals);
    return good;
}

bool checker_final_lww(struct cover *cover, struct verdict *verdict)
{
    const struct history *history = cover->history;
    struct latest latest = {.removals = removals_of(history)};
    bool good = true;
    for (uint32_t i = 0; i < history->final_count && good; i++) {
        const struct final *final = &history->finals[i];
        latest_init(&latest, cover, final->key);
        struct tokens seen = history_list(history, final->seen);
        advance(&latest, cover, final->key, UINT64_MAX, final->whole ? is_any : cover_counts);
        good =
            judge_exactly(cover, &latest, seen, UINT64_MAX, is_any, "in the end node", final->node + 1,
                          final->key, verdict) &&
            judge(cover, &latest, seen, UINT64_MAX, "in the end node", final->node + 1, final->key, verdict);
    }
    free(latest.removals);
    return good;
}
