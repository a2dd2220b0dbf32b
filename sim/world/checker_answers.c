/* Checker 10, liveness, and the deadlines of every operation: a client hears something, in time, and what it
 * hears is never that it or the server is wrong. On nodes that hold a quorum of every key asked for and that
 * no fault touches, everything succeeds: on a core of them while the others are gone, and on all once they
 * are back. */
#include "base/status.h"
#include "world/checker.h"

/* A node that stood still could not look at its clock. The list is in the order of the ends, so that those
 * that matter are found from the first that ends after the operation began. */
static uint64_t excused_ns(const struct answer_rules *rules, const struct op *op)
{
    uint64_t until_ns = op->deadline_ns;
    uint32_t low = 0, high = rules->standstill_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (rules->standstills[middle].until_ns <= op->invoked_ns)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < rules->standstill_count; low++) {
        const struct standstill *still = &rules->standstills[low];
        if (still->node != op->node || still->from_ns > until_ns + rules->grace_ns) continue;
        uint64_t from_ns = still->from_ns > op->invoked_ns ? still->from_ns : op->invoked_ns;
        until_ns += still->until_ns - from_ns;
    }
    return until_ns + rules->grace_ns;
}

static bool is_success(const struct op *op)
{
    return (op->flags & OP_LOST) == 0 &&
           (op->status == STATUS_OK || op->status == STATUS_NOT_FOUND || op->status == STATUS_CONFLICT ||
            op->status == STATUS_TOO_MANY_SIBLINGS);
}

static bool is_due(const struct answer_rules *rules, const struct op *op)
{
    for (uint32_t i = 0; i < rules->duty_count; i++) {
        const struct duty *duty = &rules->duties[i];
        if (op->invoked_ns >= duty->from_ns && op->invoked_ns < duty->until_ns &&
            (duty->nodes >> op->node & 1) != 0)
            return true;
    }
    return false;
}

bool checker_answers(const struct history *history, const struct answer_rules *rules, struct verdict *verdict)
{
    for (uint32_t number = 1; number <= history->count; number++) {
        const struct op *op = history_op(history, number);
        if (op->ended_ns == UINT64_MAX)
            return verdict_fault(verdict, "operation %u on n%u, begun at %.3f ms, was never answered", number,
                                 op->node + 1U, in_ms(op->invoked_ns));
        bool lost = (op->flags & OP_LOST) != 0;
        if (!lost && (op->status == STATUS_INVALID || op->status == STATUS_INTERNAL))
            return verdict_fault(verdict, "operation %u on n%u, begun at %.3f ms, was answered %s", number,
                                 op->node + 1U, in_ms(op->invoked_ns), status_name((enum status)op->status));
        if (!lost && op->ended_ns > op->deadline_ns && op->ended_ns > excused_ns(rules, op))
            return verdict_fault(verdict,
                                 "operation %u on n%u, begun at %.3f ms, was answered %s %.3f ms after its "
                                 "deadline",
                                 number, op->node + 1U, in_ms(op->invoked_ns),
                                 status_name((enum status)op->status), in_ms(op->ended_ns - op->deadline_ns));
        if (is_due(rules, op) && !is_success(op))
            return verdict_fault(
                verdict, "operation %u on n%u, begun at %.3f ms where nothing failed, was %s", number,
                op->node + 1U, in_ms(op->invoked_ns), lost ? "lost" : status_name((enum status)op->status));
    }
    return true;
}
