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
    if (options->quorum == 0) strict |= options->r + options->w > options->n;
    judge_answers(clients);
    struct cover cover;
    cover_build(&cover, &clients->history);
    if (checker_siblings(&cover, verdict) && checker_stamps(&cover, verdict)) {
        if (options->lww) {
            checker_final_lww(&cover, verdict);
            if (strict) checker_register_lww(&cover, verdict);
            clients->judged[CLIENTS_REGISTER] += strict;
        } else {
            checker_final(&cover, verdict);
            if (strict) checker_register(&cover, verdict);
            if (strict) checker_session(&cover, verdict);
            clients->judged[CLIENTS_REGISTER] += strict;
            clients->judged[CLIENTS_SESSION] += strict;
            clients->judged[CLIENTS_MERGE]++;
            clients->judged[CLIENTS_CONDITION]++;
            clients->judged[CLIENTS_CHAIN] += options->faultless;
            checker_merge(&cover, clients->contents, strict, verdict);
            if (options->faultless) checker_chain(&cover, verdict);
            uint32_t w = options->quorum == 0 ? options->w : options->quorum;
            checker_condition(&cover, w + options->n / 2 + 1 > options->n, verdict);
        }
    }
    cover_fini(&cover);
}
