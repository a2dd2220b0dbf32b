/* Steps of the scripts of client_fuzz.c and peer_fuzz.c: `what` is a kind and, above it, who. */
#pragma once

#include "mutate.h"
#include "world.h"

enum { STEPS_MAX = 64, STEP_SENT = 256 };

enum step_kind {
    STEP_CLIENT,  /* a request; who: node, connection */
    STEP_PEER,    /* a peer's Message, put into a batch; who: which peer */
    STEP_BATCH,   /* a whole batch, as it comes over a link */
    STEP_CLOSE,   /* a client goes; who: as for CLIENT */
    STEP_TIME,    /* bytes: ms to pass (2, big-endian) */
    STEP_LINK,    /* who: node, up; bytes: the other node */
    STEP_HOLD,    /* syncs wait, or no longer */
    STEP_CLIENT2, /* a request, as CLIENT; nothing happens before the next step */
    STEP_KINDS
};

static inline uint8_t step_what(enum step_kind kind, uint32_t who)
{
    return (uint8_t)(kind + STEP_KINDS * who);
}

const ProtobufCMessageDescriptor *steps_type(uint8_t what);
void steps_do(struct world *world, const struct step *step);
