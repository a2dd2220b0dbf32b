#include "actor/peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Where @node is, or would be. */
static uint32_t place_of(const struct peers *peers, uint64_t node)
{
    uint32_t low = 0, high = peers->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (peers->list[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void peers_fini(struct peers *peers)
{
    for (uint32_t i = 0; i < peers->count; i++) phi_fini(&peers->list[i].phi);
    free(peers->list);
    *peers = (struct peers){0};
}

const struct peer *peers_find(const struct peers *peers, uint64_t node)
{
    uint32_t place = place_of(peers, node);
    return place < peers->count && peers->list[place].node == node ? &peers->list[place] : NULL;
}

struct peer *peers_find_or_add(struct peers *peers, uint64_t node)
{
    if (node == peers->self) return NULL;
    uint32_t place = place_of(peers, node);
    if (place < peers->count && peers->list[place].node == node) return &peers->list[place];
    peers->list = realloc(peers->list, (peers->count + 1) * sizeof(*peers->list));
    CHECK(peers->list != NULL);
    memmove(&peers->list[place + 1], &peers->list[place], (peers->count - place) * sizeof(*peers->list));
    peers->count++;
    peers->list[place] = (struct peer){.node = node};
    return &peers->list[place];
}

bool peers_reachable(const struct peers *peers, uint64_t node)
{
    if (node == peers->self) return true;
    const struct peer *peer = peers_find(peers, node);
    return peer != NULL && peer->reachable;
}

bool peers_overloaded(const struct peers *peers, uint64_t node)
{
    const struct peer *peer = peers_find(peers, node);
    return peer != NULL && (peer->owed >= PEER_OWED_MAX || peer->owed_bytes >= PEER_OWED_BYTES_MAX);
}

void peer_set_link(struct peer *peer, bool up, uint64_t now_ns)
{
    peer->link = up;
    if (up) {
        peer->linked_ns = now_ns;
        return;
    }
    peer->heard_ns = 0;
    phi_forget(&peer->phi);
}

bool peers_judge(const struct peers *peers, struct peer *peer, uint64_t now_ns)
{
    bool reachable = peer->link && (peers->silent || phi_level(&peer->phi, now_ns) < PHI_SUSPECTED);
    bool changed = reachable != peer->reachable;
    peer->reachable = reachable;
    return changed;
}

void peers_excuse(struct peers *peers, uint64_t now_ns)
{
    for (uint32_t i = 0; i < peers->count; i++) phi_excuse(&peers->list[i].phi, now_ns);
}
