/* The judgement: every checker that may ask its question of this history. */
#include <stdlib.h>

#include "base/check.h"
#include "world/clients_state.h"

static void judge_answers(struct clients *clients)
{
    struct answer_rules rules = {
        .grace_ns = clients->options.grace_ns,
        .duties = clients->duties,
        .duty_count = clients->duty_count,
    };
    rules.standstills = world_standstills(clients->world, &rules.standstill_count);
    checker_answers(&clients->history, &rules, &clients->verdict);
}

void clients_judge(struct clients *clients, bool strict)
{
    const struct clients_options *options = &clients->options;
    struct verdict *verdict = &clients->verdict;
    uint64_t *judged = clients->judged;
    if (options->quorum == 0) strict |= options->r + options->w > options->n;
    bool overlap = (options->quorum == 0 ? options->w : options->quorum) + options->n / 2 + 1 > options->n;
    judge_answers(clients);
    /* The request, the router's to a coordinator and that one's own Mint each take so long at most; the time
     * that is left is counted where each is looked at. */
    clients->history.late_ns = 3 * world_longest_mail_ns(clients->world) + options->grace_ns;
    struct cover cover;
    cover_build(&cover, &clients->history);
    if (checker_siblings(&cover, verdict) && checker_stamps(&cover, verdict)) {
        if (options->lww) {
            checker_final_lww(&cover, verdict);
            if (strict) checker_register_lww(&cover, verdict);
            checker_condition_lww(&cover, overlap, verdict);
        } else {
            checker_final(&cover, verdict);
            if (strict) checker_register(&cover, verdict);
            if (strict) checker_session(&cover, verdict);
            judged[CLIENTS_SESSION] += strict;
            checker_merge(&cover, clients->contents, strict, verdict);
            checker_condition(&cover, overlap, verdict);
            judged[CLIENTS_MERGE]++;
        }
        checker_chain(&cover, world_first_fault_ns(clients->world), &judged[CLIENTS_CHAIN], verdict);
        judged[CLIENTS_REGISTER] += strict;
        judged[CLIENTS_CONDITION]++;
    }
    cover_fini(&cover);
}
