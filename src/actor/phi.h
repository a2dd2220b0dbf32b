/* Phi: how surprising the silence of one peer is (Hayashibara et al., "The phi accrual failure detector",
 * 2004).
 *
 * A detector with a fixed limit is wrong on every network but the one it was set on. Here the last intervals
 * between heartbeats are kept, and a silence of t is weighed against them:
 *
 *      phi(t) = -log10(the chance that a heartbeat comes later than t),   intervals taken as normally
 * distributed
 *
 * so at phi 8 a peer that is alive would be suspected once in 10^8 heartbeats, if it were so. Real intervals
 * have longer tails than the normal distribution's, so as in Akka a pause is granted on top of the mean, and
 * the deviation has a floor, for on a quiet network it is nearly nothing.
 *
 *      window      the last PHI_WINDOW intervals, in ms, with a prior of PHI_PRIOR at the period: judged from
 * the first heartbeat on threshold   PHI_SUSPECTED: with regular heartbeats reached PHI_REGULAR_MS after the
 * last one; of those of which a fifth is lost, after about 1.4 s not kept    an interval that ended a
 * suspicion (it was an outage, not the network's way; Akka does the same); one below PHI_BURST_MS (what was
 * held up comes all at once); one in which we stood still ourselves
 *
 * Numbers are integers, and the logarithm is a table: a trace is the same on every machine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    PHI_WINDOW = 128,    /* intervals: 25 s of heartbeats */
    PHI_PRIOR = 4,       /* of PHI_PERIOD_MS, give or take PHI_DEVIATION_MIN_MS */
    PHI_PERIOD_MS = 200, /* of the heartbeats */
    PHI_PAUSE_MS = 500,  /* granted */
    PHI_DEVIATION_MIN_MS = 50,
    PHI_BURST_MS = 25,
    PHI_INTERVAL_MS_MAX = 2000, /* a longer one counts as this: what is learned is bounded, too */
    PHI_SUSPECTED = 8000,       /* in thousandths, as all levels here */
    PHI_REGULAR_MS = 1000,      /* 200 + 500 + 5.6 * 50, and a little */
};

/* Zeroed: nothing was heard. */
struct phi {
    uint64_t heard_ns; /* when the last heartbeat came; 0: none since it was forgotten */
    bool broken;       /* the interval that is open is not to be kept */
    uint16_t *window;  /* a ring of intervals in ms; NULL until there is one */
    uint32_t count, next;
    uint32_t sum;     /* of the window */
    uint64_t squares; /* of the window, squared */
};

void phi_fini(struct phi *phi);

/* A heartbeat came. */
void phi_beat(struct phi *phi, uint64_t now_ns);

/* None is expected any more (the link is lost): what was learned stays, the silence begins with the next one.
 */
void phi_forget(struct phi *phi);

/* We stood still ourselves until now: whatever was silent meanwhile is not to blame. */
void phi_excuse(struct phi *phi, uint64_t now_ns);

/* The level of suspicion, in thousandths. Never falls while nothing comes. Without any heartbeat: at its
 * greatest. */
uint32_t phi_level(const struct phi *phi, uint64_t now_ns);
