/* Peers: which nodes this shard can reach, in its own opinion.
 *
 * A peer is reachable while the link that we dialled is up and something was heard from it within
 * PEER_SILENCE_NS. Our link alone is not enough: its answers come over the link that it dialled. Links ping
 * every PEER_PING_NS. Phi accrual replaces the fixed limit later, behind peers_reachable. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PEER_PING_NS = 200 * 1000 * 1000, PEER_SILENCE_NS = 1000 * 1000 * 1000 };

struct peer {
    uint64_t node;
    bool link;          /* the link that we dialled is up */
    uint64_t linked_ns; /* when it came up */
    bool reachable;     /* as last judged */
    uint64_t heard_ns;  /* when something last came from it; 0: nothing since our link to it went down */
};

struct peers {
    uint64_t self;
    struct peer *list; /* sorted by node */
    uint32_t count;
};

void peers_fini(struct peers *peers);

/* The peer, made if it is new. NULL for ourselves. */
struct peer *peers_find_or_add(struct peers *peers, uint64_t node);
const struct peer *peers_find(const struct peers *peers, uint64_t node);

/* Ourselves: always. */
bool peers_reachable(const struct peers *peers, uint64_t node);

/* Judge one peer at @now_ns; true when its reachability changed. */
bool peer_judge(struct peer *peer, uint64_t now_ns);
