/* The inside of clients, shared by clients.c (sessions), clients_wire.c (requests and answers),
 * clients_sweep.c and clients_judge.c. */
#pragma once

#include "world/clients.h"

/* A client and its operation under way. */
struct lane {
    struct client client;
    struct ask ask;
    struct heard heard;
    struct buffer value;
    struct known *known; /* of the key asked for; NULL for the sweeper's */
    uint32_t token;      /* in the history, and the sequence of its write token; 0: it is not recorded */
    uint32_t attempts, quorum; /* r or w */
    uint32_t homes;            /* n */
    Dynode__Client__Level level;
    uint8_t applied; /* what the answer says */
    bool sloppy;
    bool maybe; /* an attempt before may have been applied */
    bool again; /* to be tried again */
};

struct session {
    struct clients *clients;
    struct lane *lanes;
    uint32_t lane_count, active; /* of the lanes, the first so many are in the request */
    uint32_t node;
    uint64_t connection, request; /* request: its id, raised by each */
    bool hung_up;                 /* its connection, by itself */
    bool busy, resting;
    bool tokens, impatient;
};

struct clients {
    struct clients_options options;
    struct world *world;
    struct prng prng;
    struct history history;
    struct verdict verdict;
    struct session *sessions; /* the last one is the sweeper */
    uint32_t session_count;
    uint32_t *session_of, connection_count; /* by connection - 1 */
    uint32_t *keys[CLIENT_KINDS], key_counts[CLIENT_KINDS];
    enum content *contents; /* by key */
    uint32_t nodes;         /* to connect to, as bits */
    bool stopped;
    uint64_t operations;
    struct duty duties[CLIENTS_DUTIES_MAX];
    uint32_t duty_count;
    uint64_t judged[CLIENTS_JUDGED];
};

static inline bool clients_chance(struct clients *clients, uint32_t percent)
{
    return percent > 0 && prng_below(&clients->prng, 100) < percent;
}

/* Connect if there is no connection, to a node that may be connected to. False: it is down. */
bool session_connect(struct session *session, uint32_t node, uint32_t shard);

/* --- clients_wire.c --- */

/* Send what its active lanes ask for. */
void session_send(struct session *session, uint32_t deadline_ms);

/* Take one result of the answer. */
void lane_hear(struct clients *clients, struct lane *lane, const Dynode__Client__Result *result);

/* Ready for another answer. */
void lane_clear(struct lane *lane);

void key_text(uint32_t key, char text[16]);
