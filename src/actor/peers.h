/* Peers: which nodes this shard can reach, in its own opinion. It steers routing, and nothing else.
 *
 * A peer is reachable while the links that we dialled to it are up and it answers our heartbeats as it used
 * to (phi.h). A heartbeat is a Pong: the answer to our Ping, which went there on our link and came back on
 * the peer's. So a cut of either way alone, a process that is stopped and a machine that is gone all look the
 * same, on both sides; and what else the peer may send counts for nothing, for it does not say whether it
 * hears us. A link that is lost is a hint that is believed at once: the end of a process closes its links.
 *
 * Heartbeats have a lane of their own (outbox.h), so that bulk never looks like death. Every
 * PEER_DATA_PINGS-th Ping goes out on the data lane too: nothing is judged by it but whether that link still
 * carries anything.
 *
 * A peer may be alive and too slow all the same. What this shard has asked of it and waits for is counted
 * (turn_owe), and one that owes too much gets no more: it is passed over as if it could not be reached, so
 * that reads go elsewhere and writes become hints, until it has caught up. Nobody is told of that as a change
 * of reachability: what it was asked before it may answer yet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor/phi.h"

enum {
    PEER_PING_NS = PHI_PERIOD_MS * 1000 * 1000,
    PEER_SILENCE_NS = PHI_REGULAR_MS * 1000 * 1000, /* a peer that answered regularly is suspected then */
    PEER_STILL_NS =
        300 * 1000 * 1000, /* who pings so much too late stood still, and suspects nobody for that */
    PEER_DATA_PINGS = 20,  /* every 4 s: a link that carries nothing for 10 s is closed */
    PEER_OWED_MAX = 8192,  /* answers that one peer may owe one shard ... */
    PEER_OWED_BYTES_MAX = 128 * 1024 * 1024, /* ... and bytes of what they are asked about */
};

struct peer {
    uint64_t node;
    bool link;             /* the links that we dialled are up */
    uint64_t linked_ns;    /* when they came up */
    bool reachable;        /* as last judged */
    uint64_t heard_ns;     /* when anything last came from it; 0: nothing since our link to it went down */
    uint64_t data_beat_ns; /* when a Ping on the data lane was last answered */
    struct phi phi;        /* of the Pings on the lane of heartbeats */
    uint32_t owed;         /* answers, and bytes: at PEER_OWED_MAX and above it gets nothing new */
    size_t owed_bytes;
};

struct peers {
    uint64_t self;
    bool silent;       /* nobody pings: who is linked is reachable */
    struct peer *list; /* sorted by node */
    uint32_t count;
};

void peers_fini(struct peers *peers);

/* The peer, made if it is new. NULL for ourselves. */
struct peer *peers_find_or_add(struct peers *peers, uint64_t node);
const struct peer *peers_find(const struct peers *peers, uint64_t node);

/* Ourselves: always. */
bool peers_reachable(const struct peers *peers, uint64_t node);

/* Does it owe so much that nothing more is asked of it? Ourselves: never. */
bool peers_overloaded(const struct peers *peers, uint64_t node);

/* The links came up, or one of them is lost. */
void peer_set_link(struct peer *peer, bool up, uint64_t now_ns);

/* Judge one peer at @now_ns; true when its reachability changed. */
bool peers_judge(const struct peers *peers, struct peer *peer, uint64_t now_ns);

/* We stood still until now. */
void peers_excuse(struct peers *peers, uint64_t now_ns);
