/* The sweep over all objects of the shard, vnode after vnode: the first builds the trees, those that follow
 * find what has rotted. A vnode that is distrusted comes between. */
#include "actors/antientropy_state.h"
#include "actors/exchange_page.h"

static const uint64_t ms = 1000000;

struct chunk {
    struct antientropy *self;
    struct turn *turn;
    uint32_t objects;
    size_t bytes;
    bool full;
    struct bytes dying[ANTIENTROPY_CHUNK_OBJECTS]; /* store keys of what belongs in the queue of reap.h */
    uint32_t dying_count;
};

static void look_for_dying(struct chunk *chunk, const struct table *table, struct bytes key,
                           struct bytes encoded)
{
    struct object object;
    if (table == NULL || table->rule == RULE_LWW ||
        object_decode(encoded, chunk->turn->arena, &object) != STATUS_OK || !reap_takes(&object))
        return;
    chunk->dying[chunk->dying_count++] = bytes_copy(chunk->turn->arena, key);
}

static bool visit(void *context, struct bytes key, struct bytes value)
{
    struct chunk *chunk = context;
    struct antientropy *self = chunk->self;
    struct store_place place;
    const struct table *table;
    struct bytes encoded;
    if (bytes_compare(key, buffer_bytes(&self->audit.after)) <= 0) return true;
    chunk->objects++;
    chunk->bytes += key.size + value.size;
    if (antientropy_place(self, chunk->turn, key, &place, &table)) { /* else the key itself has rotted */
        struct forest_entry entry = {.vnode = place.vnode,
                                     .n = table_homes_count(table, chunk->turn),
                                     .hash = place.hash,
                                     .store_key = key};
        bool good = object_unseal(key, value, &encoded) == STATUS_OK;
        if (!good) mend_note(self, chunk->turn, key, true);
        if (good) look_for_dying(chunk, table, key, encoded);
        if (entry.n == 0) self->strangers = true;
        forest_sweep_add(self->forest, &entry, good ? object_checksum(value) : 0);
    }
    buffer_clear(&self->audit.after);
    buffer_append(&self->audit.after, key.data, key.size);
    chunk->full = chunk->objects == ANTIENTROPY_CHUNK_OBJECTS || chunk->bytes >= ANTIENTROPY_CHUNK_BYTES;
    return !chunk->full;
}

static bool next_distrusted(const struct antientropy *self, const struct turn *turn, uint32_t *vnode)
{
    for (uint32_t v = turn->self.shard; v < turn->cluster->vnodes; v += turn->shards)
        if (forest_is_distrusted(self->forest, v)) {
            *vnode = v;
            return true;
        }
    return false;
}

/* Begin a sweep. False: there is none to make now. */
static bool begin(struct antientropy *self, struct turn *turn)
{
    struct audit *audit = &self->audit;
    bool all_swept = audit->vnode >= turn->cluster->vnodes;
    if (audit->built && next_distrusted(self, turn, &audit->swept)) {
        audit->in_turn = false;
    } else if (all_swept && turn->now_ns < audit->began_ns + self->options.audit_ns) {
        return false;
    } else {
        if (all_swept) audit->vnode = turn->self.shard;
        if (audit->vnode == turn->self.shard) audit->began_ns = turn->now_ns;
        if (audit->vnode >= turn->cluster->vnodes) return false; /* more shards than vnodes */
        audit->swept = audit->vnode;
        audit->in_turn = true;
    }
    audit->sweeping = true;
    buffer_clear(&audit->after);
    forest_sweep_begin(self->forest, audit->swept);
    return true;
}

static void end(struct antientropy *self, struct turn *turn)
{
    struct audit *audit = &self->audit;
    audit->sweeping = false;
    if (forest_sweep_end(self->forest) > 0) antientropy_mark_dirty(self, turn, audit->swept);
    turn->counters->vnodes_built = forest_built(self->forest);
    if (!audit->in_turn) return;
    audit->vnode += turn->shards;
    if (audit->vnode < turn->cluster->vnodes) return;
    audit->built = true;
    turn->counters->audits++;
}

/* What is not in the queue was written before there was one, or has lost its row. */
static void tell_missing(struct turn *turn, const struct chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->dying_count && !turn->store_broken; i++) {
        if (reap_has(turn, chunk->dying[i])) continue;
        Dynode__Peer__ReapOn *message = ARENA_NEW(turn->arena, Dynode__Peer__ReapOn);
        dynode__peer__reap_on__init(message);
        message->missing = to_pb(chunk->dying[i]);
        turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_REAP_ON, message);
    }
}

/* Sweep on in one vnode. */
static void sweep(struct antientropy *self, struct turn *turn, struct chunk *chunk)
{
    struct audit *audit = &self->audit;
    uint32_t vnodes = turn->cluster->vnodes;
    uint8_t from_bytes[LEAF_BOUND_BYTES], to_bytes[LEAF_BOUND_BYTES];
    struct bytes from = leaf_bound(vnodes, audit->swept, 0, from_bytes);
    struct bytes to = leaf_bound(vnodes, audit->swept, TREE_LEAVES, to_bytes);
    if (audit->after.size > 0) from = bytes_copy(turn->arena, buffer_bytes(&audit->after));
    if (store_scan(turn->store, STORE_OBJECTS, from, to, visit, chunk) != STATUS_OK) {
        turn->store_broken = true;
        return;
    }
    if (!chunk->full) end(self, turn);
}

void audit_step(struct antientropy *self, struct turn *turn)
{
    struct audit *audit = &self->audit;
    struct chunk chunk = {.self = self, .turn = turn};
    for (uint32_t i = 0; i < ANTIENTROPY_CHUNK_VNODES && !chunk.full; i++) {
        if (!audit->sweeping && !begin(self, turn)) {
            audit->next_ns = audit->began_ns + self->options.audit_ns;
            break;
        }
        sweep(self, turn, &chunk);
        if (turn->store_broken) return;
    }
    tell_missing(turn, &chunk);
    turn->counters->audited += chunk.objects;
    governor_spend(self->governor, chunk.bytes, 1);
    uint64_t rest_ns = audit->built ? ANTIENTROPY_AUDIT_STEP_NS : ms;
    if (audit->next_ns <= turn->now_ns) audit->next_ns = turn->now_ns + rest_ns;
}

void audit_soon(struct antientropy *self, struct turn *turn)
{
    uint64_t soon_ns = turn->now_ns + ms;
    if (self->audit.next_ns > soon_ns) self->audit.next_ns = soon_ns;
    antientropy_wake(self, turn, self->audit.next_ns);
}
