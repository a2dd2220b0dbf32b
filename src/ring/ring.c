/* How a vnode's ranking is made, and why it needs no floating point.
 *
 * Node i draws for vnode v the number h(i, v), uniform in 64 bits; u = h / 2^64 is uniform in (0, 1), and
 * -ln(u) / w is exponentially distributed with rate w. The least of such numbers belongs to node i with the
 * probability w(i) / sum of w: that is the weighting. Any base of the logarithm ranks alike, so it is base 2,
 * in fixed point with COST_BITS bits after the point, by the school method: square a mantissa in [1, 2); when
 * the square reaches 2, the next bit is 1 and the square is halved. Costs are compared as cost(a) * w(b) <
 * cost(b) * w(a), which is exact. A libm that rounds another way on one machine would put a key on other
 * nodes there: hence integers only.
 *
 * A node's draw depends on nothing but its own id and the vnode. So a node that comes or goes leaves the
 * order of the others as it was, and moves only what it wins or held. Spreading keeps this but for the mates
 * in its own zone. */
#include "ring/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"

enum { COST_BITS = 48 };

/* The greatest cost is that of h = 0 or 1: 64 bits, weighed against the greatest weight. */
static_assert(((UINT64_MAX / RING_WEIGHT_MAX) >> COST_BITS) >= 64, "a cost times a weight fits 64 bits");

struct ring {
    uint64_t version;
    uint32_t vnodes;
    uint32_t shift; /* 64 - log2(vnodes) */
    uint32_t count;
    uint64_t *ids;         /* sorted */
    uint64_t *preferences; /* vnodes rows of count ids */
};

/* One node in the ranking of one vnode. */
struct rank {
    uint64_t cost;
    uint64_t id;
    uint32_t weight;
    uint32_t zone; /* zones are numbered from 0 */
};

/* -log2(h / 2^64) with COST_BITS bits after the point. 0 costs what 1 does. */
static uint64_t cost_of(uint64_t h)
{
    if (h == 0) h = 1;
    uint32_t zeros = (uint32_t)__builtin_clzll(h);
    uint64_t log = 63 - zeros;
    uint64_t mantissa = h << zeros; /* in [1, 2), with 63 bits after the point */
    for (int i = 0; i < COST_BITS; i++) {
        unsigned __int128 square =
            (unsigned __int128)mantissa * mantissa; /* in [1, 4), 126 bits after the point */
        uint64_t bit = (uint64_t)(square >> 127);
        log = log << 1 | bit;
        mantissa = (uint64_t)(square >> (63 + bit));
    }
    return ((uint64_t)64 << COST_BITS) - log;
}

static uint64_t draw(uint64_t id, uint32_t vnode)
{
    uint8_t bytes[12];
    put_be64(bytes, id);
    put_be32(bytes + 8, vnode);
    return hash64(bytes_of(bytes, sizeof(bytes)), 0);
}

static int rank_compare(const void *left, const void *right)
{
    const struct rank *a = left;
    const struct rank *b = right;
    uint64_t x = a->cost * b->weight;
    uint64_t y = b->cost * a->weight;
    if (x != y) return x < y ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static int id_compare(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;
    return *a < *b ? -1 : *a > *b;
}

static void *must_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    CHECK(memory != NULL);
    return memory;
}

/* Number the zones in the order in which they first appear; returns how many there are. The numbers do not
 * reach the result: only which nodes share one does. */
static uint32_t number_zones(const struct ring_node *nodes, uint32_t count, uint32_t *zones)
{
    uint32_t zone_count = 0;
    uint32_t *first = must_alloc(count, sizeof(*first)); /* the node that named the zone first */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t z = 0;
        while (z < zone_count && strcmp(nodes[first[z]].zone, nodes[i].zone) != 0) z++;
        if (z == zone_count) first[zone_count++] = i;
        zones[i] = z;
    }
    free(first);
    return zone_count;
}

/* From the ranking to the preference list: a node goes into the round that its place within its zone gives
 * it, and within a round the ranking stays. @taken has room for a number for each zone, @starts for count
 * + 1. */
static void spread(const struct rank *ranking, uint32_t count, uint32_t zone_count, uint32_t *taken,
                   uint32_t *starts, uint64_t *list)
{
    memset(taken, 0, sizeof(*taken) * zone_count);
    memset(starts, 0, sizeof(*starts) * (count + 1));
    for (uint32_t i = 0; i < count; i++) starts[++taken[ranking[i].zone]]++; /* nodes of round k at k + 1 */
    for (uint32_t i = 1; i <= count; i++) starts[i] += starts[i - 1];
    memset(taken, 0, sizeof(*taken) * zone_count);
    for (uint32_t i = 0; i < count; i++) list[starts[taken[ranking[i].zone]++]++] = ranking[i].id;
}

struct ring *ring_build(const struct ring_node *nodes, uint32_t count, uint32_t vnodes, uint64_t version)
{
    CHECK(count >= 1);
    CHECK(count <= RING_NODES_MAX);
    CHECK(vnodes >= 1);
    CHECK(vnodes <= RING_VNODES_MAX);
    CHECK((vnodes & (vnodes - 1)) == 0);

    struct ring *ring = must_alloc(1, sizeof(*ring));
    ring->version = version;
    ring->vnodes = vnodes;
    ring->shift = 64 - (uint32_t)__builtin_ctz(vnodes);
    ring->count = count;
    ring->ids = must_alloc(count, sizeof(*ring->ids));
    ring->preferences = must_alloc((size_t)vnodes * count, sizeof(*ring->preferences));

    for (uint32_t i = 0; i < count; i++) {
        CHECK(nodes[i].id != 0);
        CHECK(nodes[i].weight >= 1);
        CHECK(nodes[i].weight <= RING_WEIGHT_MAX);
        CHECK(memchr(nodes[i].zone, 0, sizeof(nodes[i].zone)) != NULL);
        ring->ids[i] = nodes[i].id;
    }
    qsort(ring->ids, count, sizeof(*ring->ids), id_compare);
    for (uint32_t i = 1; i < count; i++) CHECK(ring->ids[i - 1] != ring->ids[i]);

    uint32_t *zones = must_alloc(count, sizeof(*zones));
    uint32_t *taken = must_alloc(count, sizeof(*taken));
    uint32_t *starts = must_alloc(count + 1, sizeof(*starts));
    struct rank *ranking = must_alloc(count, sizeof(*ranking));
    uint32_t zone_count = number_zones(nodes, count, zones);
    for (uint32_t v = 0; v < vnodes; v++) {
        for (uint32_t i = 0; i < count; i++)
            ranking[i] = (struct rank){.cost = cost_of(draw(nodes[i].id, v)),
                                       .id = nodes[i].id,
                                       .weight = nodes[i].weight,
                                       .zone = zones[i]};
        qsort(ranking, count, sizeof(*ranking), rank_compare);
        spread(ranking, count, zone_count, taken, starts, ring->preferences + (size_t)v * count);
    }
    free(ranking);
    free(starts);
    free(taken);
    free(zones);
    return ring;
}

void ring_free(struct ring *ring)
{
    if (ring == NULL) return;
    free(ring->preferences);
    free(ring->ids);
    free(ring);
}

uint64_t ring_version(const struct ring *ring)
{
    return ring->version;
}

uint32_t ring_vnodes(const struct ring *ring)
{
    return ring->vnodes;
}

uint32_t ring_nodes(const struct ring *ring)
{
    return ring->count;
}

uint32_t ring_node_index(const struct ring *ring, uint64_t node)
{
    const uint64_t *found = bsearch(&node, ring->ids, ring->count, sizeof(*ring->ids), id_compare);
    return found == NULL ? ring->count : (uint32_t)(found - ring->ids);
}

uint32_t ring_vnode(const struct ring *ring, uint64_t hash)
{
    return ring->shift == 64 ? 0 : (uint32_t)(hash >> ring->shift);
}

const uint64_t *ring_preference_list(const struct ring *ring, uint32_t vnode)
{
    CHECK(vnode < ring->vnodes);
    return ring->preferences + (size_t)vnode * ring->count;
}

bool ring_is_home(const struct ring *ring, uint32_t vnode, uint32_t n, uint64_t node)
{
    const uint64_t *list = ring_preference_list(ring, vnode);
    for (uint32_t i = 0; i < n && i < ring->count; i++)
        if (list[i] == node) return true;
    return false;
}
