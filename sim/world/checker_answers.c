/* Checker 10, liveness, and the deadlines of every operation, each time it is sent: a client hears something,
 * in time, and what it hears is never that it or the server is wrong. A connection may be lost, with its node
 * or by itself, but never does the node hang up, and never has it left a request unanswered till after its
 * deadline. On nodes that hold a quorum of every
 * key asked for and that no fault touches, everything succeeds: on a core of them while the others are gone,
 * and on all once they are back. */
#include <stdio.h>

#include "base/status.h"
#include "world/checker.h"

/* A node that stood still could not look at its clock. The list is in the order of the ends, so that those
 * that matter are found from the first that ends after the operation began. */
static uint64_t excused_ns(const struct answer_rules *rules, const struct attempt *attempt)
{
    uint64_t until_ns = attempt->deadline_ns;
    uint32_t low = 0, high = rules->standstill_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (rules->standstills[middle].until_ns <= attempt->begun_ns)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < rules->standstill_count; low++) {
        const struct standstill *still = &rules->standstills[low];
        if (still->node != attempt->node || still->from_ns > until_ns + rules->grace_ns) continue;
        uint64_t from_ns = still->from_ns > attempt->begun_ns ? still->from_ns : attempt->begun_ns;
        until_ns += still->until_ns - from_ns;
    }
    return until_ns + rules->grace_ns;
}

static bool is_success(const struct attempt *attempt)
{
    return !attempt->lost &&
           (attempt->status == STATUS_OK || attempt->status == STATUS_NOT_FOUND ||
            attempt->status == STATUS_CONFLICT || attempt->status == STATUS_TOO_MANY_SIBLINGS);
}

static bool is_due(const struct answer_rules *rules, const struct attempt *attempt)
{
    for (uint32_t i = 0; i < rules->duty_count; i++) {
        const struct duty *duty = &rules->duties[i];
        if (attempt->begun_ns >= duty->from_ns && attempt->begun_ns < duty->until_ns &&
            (duty->nodes >> attempt->node & 1) != 0)
            return true;
    }
    return false;
}

struct name {
    char text[80];
};

static struct name name_of(const struct attempt *attempt)
{
    struct name name;
    snprintf(name.text, sizeof(name.text), "operation %u on n%u, begun at %.3f ms,", attempt->token,
             attempt->node + 1U, in_ms(attempt->begun_ns));
    return name;
}

static bool judge(const struct answer_rules *rules, const struct attempt *attempt, struct verdict *verdict)
{
    const char *status = attempt->lost ? "lost" : status_name((enum status)attempt->status);
    if (attempt->ended_ns == UINT64_MAX)
        return verdict_fault(verdict, "%s was never answered", name_of(attempt).text);
    if (attempt->hung_up)
        return verdict_fault(verdict, "%s was hung up on by its node", name_of(attempt).text);
    if (!attempt->lost && (attempt->status == STATUS_INVALID || attempt->status == STATUS_INTERNAL))
        return verdict_fault(verdict, "%s was answered %s", name_of(attempt).text, status);
    if ((!attempt->lost || rules->prompt) && attempt->ended_ns > attempt->deadline_ns &&
        attempt->ended_ns > excused_ns(rules, attempt))
        return verdict_fault(verdict, "%s was %s%s %.3f ms after its deadline", name_of(attempt).text,
                             attempt->lost ? "unanswered and " : "answered ", status,
                             in_ms(attempt->ended_ns - attempt->deadline_ns));
    if (is_due(rules, attempt) && !is_success(attempt))
        return verdict_fault(verdict, "%s where nothing failed, was %s", name_of(attempt).text, status);
    return true;
}

bool checker_answers(const struct history *history, const struct answer_rules *rules, struct verdict *verdict)
{
    for (uint32_t i = 0; i < history->attempt_count; i++)
        if (!judge(rules, &history->attempts[i], verdict)) return false;
    for (uint32_t token = 1; token <= history->count; token++) {
        const struct attempt last = history_last_attempt(history, token);
        if (!judge(rules, &last, verdict)) return false;
    }
    return true;
}
