/* The judgement: every checker that may ask its question of this history. */
#include <stdlib.h>

#include "base/check.h"
#include "world/clients_state.h"

static void judge_answers(struct clients *clients)
{
    struct answer_rules rules = {
        .prompt = true,
        .grace_ns = clients->options.grace_ns,
        .duties = clients->duties,
        .duty_count = clients->duty_count,
    };
    rules.standstills = world_standstills(clients->world, &rules.standstill_count);
    checker_answers(&clients->history, &rules, &clients->verdict);
}

/* What reads found, by a cover for them. */
static void judge_reads(const struct clients *clients, struct cover *cover, struct verdict *verdict)
{
    if (clients->options.lww) {
        checker_register_lww(cover, verdict);
        return;
    }
    checker_register(cover, verdict);
    checker_session(cover, verdict);
}

static bool any(const struct history *history, bool (*is)(const struct op *op))
{
    for (uint32_t token = 1; token <= history->count; token++)
        if (is(history_op(history, token))) return true;
    return false;
}

static bool is_conditional(const struct op *op)
{
    return op->kind != OP_GET && op->outcome == OUTCOME_OK &&
           (op->flags & (OP_IF_CONTEXT | OP_IF_ABSENT)) != 0;
}

static bool is_of_a_cart(const struct op *op)
{
    return op->elements.count > 0;
}

static bool any_reads(const struct cover *cover)
{
    for (uint32_t token = 1; token <= cover->history->count; token++)
        if (cover_is_reader(cover, history_op(cover->history, token))) return true;
    return false;
}

/* Each way to read that was drawn knows of other writes: whoever asks for one home of those that all homes
 * acknowledged. False: there is no read that has to find anything. */
static bool judge_all_reads(struct clients *clients, struct cover *cover, bool strict)
{
    struct history *history = &clients->history;
    struct verdict *verdict = &clients->verdict;
    bool judged = history->n == 0 && strict && any_reads(cover);
    if (judged) judge_reads(clients, cover, verdict);
    for (uint8_t homes = 1; homes <= history->n; homes++) {
        for (uint8_t needs = 1; needs <= homes; needs++) {
            struct cover own = {.history = history, .reader = {needs, homes}};
            if (!any_reads(&own)) continue;
            judged = true;
            cover_build_for(&own, history, own.reader);
            judge_reads(clients, &own, verdict);
            if (!clients->options.lww) checker_merge(&own, clients->contents, true, verdict);
            cover_fini(&own);
        }
    }
    return judged;
}

/* Could the last reads find anything that has come back? */
static bool any_has_gone(const struct cover *cover)
{
    const struct history *history = cover->history;
    for (uint32_t token = 1; token <= history->count; token++) {
        if (cover->superseded_by[token - 1] == 0 || (history_op(history, token)->flags & OP_REPEATED))
            continue;
        for (uint32_t i = 0; i < history->final_count; i++)
            if (history->finals[i].key == history_op(history, token)->key) return true;
    }
    return false;
}

static void judge_conditions(struct clients *clients, struct cover *cover)
{
    const struct clients_options *options = &clients->options;
    const struct history *history = &clients->history;
    uint32_t majority = options->n / 2 + 1;
    bool overlap = (options->quorum == 0 ? options->w : options->quorum) + majority > options->n;
    clients->judged[CLIENTS_CONDITION] += any(history, is_conditional);
    bool (*checker)(struct cover *, bool, struct verdict *) =
        options->lww ? checker_condition_lww : checker_condition;
    if (history->n == 0) {
        checker(cover, overlap, &clients->verdict);
        return;
    }
    struct cover own;
    cover_build_for(&own, history, (struct quorum){(uint8_t)majority, (uint8_t)options->n});
    checker(&own, true, &clients->verdict);
    cover_fini(&own);
}

void clients_judge(struct clients *clients, bool strict)
{
    const struct clients_options *options = &clients->options;
    struct verdict *verdict = &clients->verdict;
    uint64_t *judged = clients->judged;
    if (strict) clients->history.n = 0;
    if (options->quorum == 0) strict |= options->r + options->w > options->n;
    judge_answers(clients);
    /* The request, the router's to a coordinator and that one's own Mint each take so long at most; the time
     * that is left is counted where each is looked at. */
    clients->history.late_ns = 3 * world_longest_mail_ns(clients->world) + options->grace_ns;
    struct cover cover;
    cover_build(&cover, &clients->history);
    if (checker_siblings(&cover, verdict) && checker_stamps(&cover, verdict)) {
        (options->lww ? checker_final_lww : checker_final)(&cover, verdict);
        if (!options->lww) {
            checker_gone(&cover, verdict);
            judged[CLIENTS_GONE] += any_has_gone(&cover);
        }
        bool read = judge_all_reads(clients, &cover, strict);
        if (!options->lww) {
            checker_merge(&cover, clients->contents, strict && clients->history.n == 0, verdict);
            judged[CLIENTS_MERGE] += any(&clients->history, is_of_a_cart);
        }
        judge_conditions(clients, &cover);
        checker_chain(&cover, world_first_fault_ns(clients->world), &judged[CLIENTS_CHAIN], verdict);
        judged[CLIENTS_REGISTER] += read;
        judged[CLIENTS_SESSION] += read && !options->lww;
    }
    cover_fini(&cover);
}
