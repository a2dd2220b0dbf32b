#include "actors/replica.h"

#include <stdlib.h>

#include "actors/replica_copies.h"
#include "actors/replica_scan.h"
#include "actors/table_homes.h"
#include "base/check.h"
#include "base/hash.h"
#include "version/hlc.h"
#include "version/object.h"
#include "wire/client_wire.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

struct replica {
    struct actor actor;
    struct hlc hlc;
    uint32_t vnodes;
    struct dot *stand_ins; /* by vnode: the last dot minted for a home; none: the next has a fresh clock */
    struct forest *forest; /* of the shard */
    struct table_homes homes;
    struct hints *hints;
    struct copies *copies;
    struct reap *reap;
};

/* What the store holds of a key, as an object or as a hint, as far as it can be read. */
struct held_object {
    struct bytes store_key;
    struct bytes encoded; /* size 0: nothing */
    struct object object;
    struct store_place place;
    uint64_t checksum; /* of what is stored, 0 if nothing is */
    bool damaged;      /* something is, but its checksum is not to be known */
    bool replaced;     /* it is to be written over, or removed, although it can't be read */
    bool is_hint;
    struct hint hint;
};

static struct store_place place_of(const Dynode__Peer__Place *place)
{
    return (struct store_place){.vnode = place->vnode,
                                .hash = place->hash,
                                .tag = place->tag,
                                .key = bytes_of(place->key.data, place->key.len)};
}

/* Is this the key's shard? A message that says otherwise is a peer's mistake, or its ring is another. */
static enum status check_shard(const struct turn *turn, const Dynode__Peer__Place *place, uint32_t n)
{
    if (place == NULL || place->key.len < 1 || place->key.len > KEY_BYTES_MAX) return STATUS_INVALID;
    if (place->vnode % turn->shards != turn->self.shard) return STATUS_INVALID;
    if (hash64(bytes_of(place->key.data, place->key.len), place->tag) != place->hash) return STATUS_INVALID;
    if (ring_vnode(turn->ring, place->hash) != place->vnode) return STATUS_INVALID;
    return n < 1 || n > TABLE_N_MAX ? STATUS_INVALID : STATUS_OK;
}

/* And is it a home? */
static enum status check_place(const struct turn *turn, const Dynode__Peer__Place *place, uint32_t n)
{
    enum status status = check_shard(turn, place, n);
    if (status != STATUS_OK) return status;
    return ring_is_home(turn->ring, place->vnode, n, turn->self.node) ? STATUS_OK : STATUS_NOT_HOME;
}

/* Or may it stand in for that one? */
static enum status check_stand_in(const struct turn *turn, const Dynode__Peer__Place *place, uint32_t n,
                                  uint64_t target)
{
    enum status status = check_shard(turn, place, n);
    if (status != STATUS_OK) return status;
    bool known = ring_node_index(turn->ring, target) < ring_nodes(turn->ring);
    return known && target != turn->self.node ? STATUS_OK : STATUS_INVALID;
}

static void forget_stand_in(struct replica *replica, uint32_t vnode)
{
    replica->stand_ins[vnode] = (struct dot){0};
}

/* A context that names a clock of ours above our own counter knows a mint that we do not: memory has gone. */
static void judge_context(struct replica *replica, uint32_t vnode, const struct vv *context)
{
    const struct dot *last = &replica->stand_ins[vnode];
    mints_judge(&replica->copies->mints, context);
    if (last->clock != 0 && vv_get(context, last->clock) > last->counter) forget_stand_in(replica, vnode);
}

/* What the checksum or the decoder says of stored bytes that can't be used. Anti-entropy fetches them anew.
 */
static enum status unreadable(struct turn *turn, const Dynode__Peer__Place *at)
{
    turn->counters->corrupt++;
    Dynode__Peer__MarkDirty *dirty = ARENA_NEW(turn->arena, Dynode__Peer__MarkDirty);
    dynode__peer__mark_dirty__init(dirty);
    dirty->vnode = at->vnode;
    dirty->damaged = (Dynode__Peer__Place *)(uintptr_t)at;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY, dirty);
    return STATUS_CORRUPT;
}

/* Read an object's bytes, as far as their checksum. */
static enum status load_encoded(struct turn *turn, const Dynode__Peer__Place *at, struct held_object *out)
{
    struct store_place place = place_of(at);
    *out = (struct held_object){.store_key = store_key_encode(&place, turn->arena), .place = place};
    struct bytes stored;
    enum status status = store_get(turn->store, STORE_OBJECTS, out->store_key, turn->arena, &stored);
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    if (status != STATUS_OK) return status;
    if (object_unseal(out->store_key, stored, &out->encoded) != STATUS_OK) {
        out->damaged = true;
        return unreadable(turn, at);
    }
    out->checksum = object_checksum(stored);
    return STATUS_OK;
}

/* Read an object. STATUS_NOT_FOUND leaves an empty one. STATUS_CORRUPT: unreadable; *out is as for NOT_FOUND,
 * so that what comes from other homes can replace it: whoever lets it gives the clock up, which may
 * have minted what was lost. To have tried to read it costs no clock: that may be tried a thousand times, and
 * each clock is an entry more in the contexts of other keys. */
static enum status load(struct turn *turn, const Dynode__Peer__Place *at, struct held_object *out)
{
    enum status status = load_encoded(turn, at, out);
    if (status != STATUS_OK) return status;
    status = object_decode(out->encoded, turn->arena, &out->object);
    if (status == STATUS_OK) return status;
    out->encoded = bytes_of(NULL, 0);
    return status == STATUS_CORRUPT ? unreadable(turn, at) : status;
}

/* 0: its table is not known here. */
static uint32_t homes_of(struct replica *replica, const struct turn *turn, const Dynode__Peer__Place *at)
{
    return table_homes_count(table_homes_find(&replica->homes, turn, at->tag), turn);
}

/* Does what is here of the key count? */
static bool is_filled(struct replica *replica, const struct turn *turn, const Dynode__Peer__Place *at)
{
    return copies_is_filled(replica->copies, at->vnode, homes_of(replica, turn, at));
}

/* The shard's trees follow what is stored. */
static void grow_tree(struct replica *replica, const struct turn *turn, const struct held_object *held,
                      uint64_t checksum)
{
    const struct table *table = table_homes_find(&replica->homes, turn, held->place.tag);
    struct forest_entry entry = {.vnode = held->place.vnode,
                                 .n = table_homes_count(table, turn),
                                 .hash = held->place.hash,
                                 .store_key = held->store_key};
    forest_replace(replica->forest, &entry, held->checksum, checksum);
    if (held->damaged || entry.n == 0) forest_distrust(replica->forest, entry.vnode);
}

/* The same for the hint of one target. */
static enum status load_hint(struct replica *replica, struct turn *turn, uint64_t target,
                             const Dynode__Peer__Place *at, struct held_object *out)
{
    struct store_place place = place_of(at);
    *out = (struct held_object){.is_hint = true};
    enum status status = hints_get(turn->store, target, &place, turn->arena, &out->hint);
    out->store_key = out->hint.store_key;
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    if (status == STATUS_OK) status = object_decode(out->hint.encoded, turn->arena, &out->object);
    if (status == STATUS_OK) out->encoded = out->hint.encoded;
    if (status == STATUS_CORRUPT) {
        turn->counters->corrupt++;
        forget_stand_in(replica, at->vnode);
    }
    return status;
}

/* Merge all hints of a key into *into. What can't be read is passed over. */
static enum status gather_hints(struct replica *replica, struct turn *turn, const Dynode__Peer__Place *at,
                                enum table_rule rule, struct object *into)
{
    for (uint32_t i = 0; i < replica->hints->count; i++) {
        struct held_object held;
        if (replica->hints->list[i].count == 0 || replica->hints->list[i].node == HINTS_ASIDE) continue;
        enum status status = load_hint(replica, turn, replica->hints->list[i].node, at, &held);
        if (status == STATUS_STORE_BROKEN || status == STATUS_NO_MEMORY) return status;
        if (status == STATUS_OK) *into = object_merge(into, &held.object, rule, turn->arena);
    }
    return object_fits(into) ? STATUS_OK : STATUS_TOO_LARGE;
}

/* Is it in the queue of what may go, if nothing else is left of it? A table that is not known here yet may
 * be one of those. */
static bool is_reaped(struct replica *replica, const struct turn *turn, const struct held_object *held)
{
    const struct table *table = table_homes_find(&replica->homes, turn, held->place.tag);
    return table == NULL || table->rule != RULE_LWW;
}

/* Write @object, which is @encoded. */
static enum status save(struct replica *replica, struct turn *turn, const struct held_object *held,
                        const struct object *object, struct bytes encoded)
{
    if (encoded.size > OBJECT_BYTES_MAX) return STATUS_TOO_LARGE;
    turn->counters->replica_writes++;
    if (held->is_hint)
        return hints_put(replica->hints, turn->store, &held->hint, encoded, turn->wall_ms, turn->arena);
    struct bytes sealed = object_seal(held->store_key, encoded, turn->arena);
    uint32_t vnode = held->place.vnode;
    bool reaped = is_reaped(replica, turn, held);
    enum status status = STATUS_OK;
    if (reaped)
        status = reap_enter(replica->reap, turn->store, vnode, held->store_key, &held->object, object);
    if (status != STATUS_OK) return status;
    status = store_put(turn->store, STORE_OBJECTS, held->store_key, sealed);
    if (status == STATUS_OK) grow_tree(replica, turn, held, object_checksum(sealed));
    const struct object *before = &held->object;
    if (status != STATUS_OK) { /* it stays what it was */
        before = object;
        object = &held->object;
    }
    if (reaped) reap_leave(replica->reap, turn->store, vnode, held->store_key, before, object);
    return status;
}

static void erase(struct replica *replica, struct turn *turn, const struct held_object *held)
{
    CHECK(!held->is_hint);
    turn->counters->replica_writes++;
    if (is_reaped(replica, turn, held))
        reap_leave(replica->reap, turn->store, held->place.vnode, held->store_key, &held->object,
                   &(struct object){0});
    store_remove(turn->store, STORE_OBJECTS, held->store_key);
    grow_tree(replica, turn, held, 0);
}

static bool is_full(const struct turn *turn)
{
    return turn->arena->used_bytes >= REPLICA_TURN_BYTES_MAX;
}

/* --- Read --- */

static enum status read_own(struct replica *replica, struct turn *turn, const Dynode__Peer__Read *read,
                            struct bytes *encoded)
{
    struct held_object held;
    enum status status = check_place(turn, read->place, read->n);
    if (status == STATUS_OK && !is_filled(replica, turn, read->place)) status = STATUS_NOT_FILLED;
    if (status == STATUS_OK && is_full(turn)) status = STATUS_OVERLOADED;
    if (status == STATUS_OK) status = load_encoded(turn, read->place, &held);
    if (status == STATUS_OK) *encoded = held.encoded;
    return status;
}

/* That no hint is here says nothing of what the homes hold: it is UNKNOWN, which counts for nobody. */
static enum status read_hints(struct replica *replica, struct turn *turn, const Dynode__Peer__Read *read,
                              struct bytes *encoded)
{
    struct object all = {0};
    enum status status = check_shard(turn, read->place, read->n);
    if (status == STATUS_OK && is_full(turn)) status = STATUS_OVERLOADED;
    const struct table *table =
        status == STATUS_OK ? cluster_find_tag(turn->cluster, read->place->tag) : NULL;
    if (status == STATUS_OK && table == NULL) status = STATUS_UNKNOWN;
    if (status == STATUS_OK) status = gather_hints(replica, turn, read->place, table->rule, &all);
    if (status == STATUS_OK && all.context.count == 0) status = STATUS_UNKNOWN;
    if (status == STATUS_OK) *encoded = object_encode(&all, turn->arena);
    return status;
}

static void receive_read(struct replica *replica, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Read *read = mail->body;
    if (turn_is_late(turn, read->deadline_ms)) {
        turn->counters->expired++;
        return;
    }
    Dynode__Peer__ReadAnswer *answer = ARENA_NEW(turn->arena, Dynode__Peer__ReadAnswer);
    dynode__peer__read_answer__init(answer);
    struct bytes encoded;
    turn->counters->replica_reads++;
    enum status status =
        read->stand_in ? read_hints(replica, turn, read, &encoded) : read_own(replica, turn, read, &encoded);
    if (status == STATUS_OK) {
        answer->digest = object_digest(encoded);
        if (!read->digest || encoded.size <= REPLICA_DIGEST_BYTES) answer->object = to_pb(encoded);
    }
    answer->status = status;
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, answer);
}

/* --- Merge --- */

static uint32_t homes_count(const struct turn *turn, uint32_t n)
{
    return n < ring_nodes(turn->ring) ? n : ring_nodes(turn->ring);
}

/* What of *incoming may come in, and, where a home judges that knows what has gone, what of *own stays. */
static void fence(struct replica *replica, struct turn *turn, const Dynode__Peer__Merge *message,
                  struct object *own, struct object *incoming)
{
    uint32_t vnode = message->place->vnode, n = homes_count(turn, message->n);
    struct vv reaped = copies_reaped(replica->copies, vnode, n);
    bool goes = false;
    if (message->judged) *own = copies_strip(own, incoming, &reaped, turn->arena, &goes);
    /* Of what a whole home holds nothing is obsolete, but it may be about to go there too. */
    if (message->vouched && own->count == 0 && object_live_count(incoming, turn->wall_ms) == 0 &&
        vv_descends(&reaped, &incoming->context))
        *incoming = (struct object){0};
    if (!message->vouched) *incoming = copies_admit(replica->copies, vnode, n, own, incoming, turn->arena);
}

/* Load what a merge is about. *held is empty where there is nothing, or nothing that can be read and the
 * merge replaces it. */
static enum status load_for(struct replica *replica, struct turn *turn, const Dynode__Peer__Merge *message,
                            struct held_object *held)
{
    if (message->hint_for != 0) {
        enum status status = load_hint(replica, turn, message->hint_for, message->place, held);
        /* A hint counts for what is in it, whatever that is. */
        return status == STATUS_NOT_FOUND || status == STATUS_CORRUPT ? STATUS_OK : status;
    }
    enum status status = load(turn, message->place, held);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    /* One write more would make a copy count again that has lost what it held before. */
    if (status != STATUS_CORRUPT || !message->agreed) return status;
    held->replaced = true;
    mints_end(&replica->copies->mints);
    return STATUS_OK;
}

static enum status merge(struct replica *replica, struct turn *turn, const Dynode__Peer__Merge *message)
{
    uint64_t target = message->hint_for;
    enum status status = target != 0 ? check_stand_in(turn, message->place, message->n, target)
                                     : check_place(turn, message->place, message->n);
    if (status != STATUS_OK) return status;
    struct bytes encoded = bytes_of(message->object.data, message->object.len);
    struct object incoming;
    status = object_decode(encoded, turn->arena, &incoming);
    if (status != STATUS_OK) return status == STATUS_NO_MEMORY ? status : STATUS_INVALID;
    /* Nothing: no home has such an object. */
    if (incoming.context.count == 0 && !message->judged && !message->agreed) return STATUS_INVALID;
    judge_context(replica, message->place->vnode, &incoming.context);
    struct held_object held;
    status = load_for(replica, turn, message, &held);
    if (status != STATUS_OK) return status;
    if (encoded.size > 0 && bytes_equal(held.encoded, encoded)) return STATUS_OK;
    struct object own = held.object, sent = incoming;
    if (target == 0) fence(replica, turn, message, &own, &incoming);
    enum table_rule rule = message->rule == RULE_LWW ? RULE_LWW : RULE_SIBLINGS;
    struct object merged = object_merge(&own, &incoming, rule, turn->arena);
    if (object_equal(&merged, &held.object) && !held.replaced) return STATUS_OK;
    if (merged.context.count == 0) {
        erase(replica, turn, &held);
        return STATUS_OK;
    }
    if (!object_fits(&merged)) return STATUS_TOO_LARGE;
    if (!object_equal(&merged, &sent)) encoded = object_encode(&merged, turn->arena);
    return save(replica, turn, &held, &merged, encoded);
}

static void receive_merge(struct replica *replica, struct turn *turn, const struct mail *mail,
                          Dynode__Peer__Message__BodyCase answer_kind)
{
    Dynode__Peer__Merged *answer = ARENA_NEW(turn->arena, Dynode__Peer__Merged);
    dynode__peer__merged__init(answer);
    const Dynode__Peer__Merge *sent = mail->body;
    bool brought = address_is(mail->from, turn->self) && mail->request == 0 && sent->hint_for == 0;
    Dynode__Peer__Merge message = *sent;
    if (!brought) message.vouched = message.judged = false;
    answer->status = merge(replica, turn, &message);
    if (brought && answer->status != STATUS_OK) replica->copies->refused++;
    if (brought && answer->status == STATUS_NO_SPACE) replica->copies->no_room++;
    if (mail->request != 0) turn_send_durable(turn, mail->from, mail->request, answer_kind, answer);
}

/* --- DropHint --- */

/* What was merged into the hint meanwhile has not gone home with it. A dot that was minted here may be in no
 * other place of this store: its clock has forgotten it. */
static void receive_drop_hint(struct replica *replica, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__DropHint *message = mail->body;
    struct store_place place = place_of(message->place);
    struct hint hint;
    enum status status = hints_get(turn->store, message->target, &place, turn->arena, &hint);
    uint64_t digest = status == STATUS_OK ? object_digest(hint.encoded) : 0;
    if ((status == STATUS_OK || status == STATUS_CORRUPT) && digest == message->digest) {
        status = message->aside ? hints_set_aside(replica->hints, turn->store, hint.store_key, turn->arena)
                                : hints_remove(replica->hints, turn->store, hint.store_key, turn->arena);
        if (place.vnode < replica->vnodes) /* else its key has rotted: nobody minted it under that */
            forget_stand_in(replica, place.vnode);
    }
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
}

/* --- Born --- */

static void receive_born(struct replica *replica, struct turn *turn)
{
    copies_bear(replica->copies, turn->store); /* a full disk: it is said again */
}

/* --- Mint --- */

static struct vv mint_context(const Dynode__Peer__Mint *mint, struct arena *arena)
{
    CHECK(mint->n_clocks == mint->n_counters);
    struct vv vv = {.entries = ARENA_ARRAY(arena, struct dot, mint->n_clocks),
                    .count = (uint32_t)mint->n_clocks};
    for (uint32_t i = 0; i < vv.count; i++)
        vv.entries[i] = (struct dot){.clock = mint->clocks[i], .counter = mint->counters[i]};
    return vv;
}

/* What is minted as a home lies among the objects, what a stand-in mints among the hints, and a home mints on
 * its object alone: with one clock for both its context would cover what only a hint holds. */
static enum status mint_dot(struct replica *replica, struct turn *turn, const Dynode__Peer__Mint *mint,
                            struct dot *dot)
{
    if (mint->hint_for == 0) return mints_next(&replica->copies->mints, turn->store, turn->prng, dot);
    struct dot *last = &replica->stand_ins[mint->place->vnode];
    while (last->clock == 0) last->clock = prng_next(turn->prng);
    last->counter++;
    *dot = *last;
    return STATUS_OK;
}

static bool precondition_holds(const Dynode__Peer__Mint *mint, const struct object *current,
                               const struct vv *context, uint64_t wall_ms)
{
    switch (mint->precondition) {
    case DYNODE__CLIENT__PRECONDITION__IF_ABSENT:
        return object_live_count(current, wall_ms) == 0;
    case DYNODE__CLIENT__PRECONDITION__IF_CONTEXT:
        return vv_equal(&current->context, context);
    default:
        return true;
    }
}

/* The state before the write: what is stored here, joined with what other homes answered. A copy that is
 * unreadable is minted upon only with their help, and so is one that is not filled where it says what a
 * delete covers. */
static enum status gather_own(struct replica *replica, struct turn *turn, const Dynode__Peer__Mint *mint,
                              struct held_object *held, struct object *current)
{
    enum status status = load(turn, mint->place, held);
    if (status == STATUS_STORE_BROKEN || status == STATUS_NO_MEMORY) return status;
    if (status == STATUS_CORRUPT) {
        if (mint->n_others == 0) return status;
        mints_end(&replica->copies->mints);
    }
    /* What goes by what is stored here (what a delete covers, which stamp is the next) needs all of it. */
    bool by_what_is_here =
        !mint->only_if_held && (mint->cover_all || (mint->rule == RULE_LWW && mint->n_clocks == 0));
    if (by_what_is_here && mint->n_others == 0 && !is_filled(replica, turn, mint->place))
        return STATUS_NOT_FILLED;
    *current = held->object;
    return STATUS_OK;
}

/* A stand-in that mints: all that lies here of the key, wherever. */
static enum status gather_any(struct replica *replica, struct turn *turn, const Dynode__Peer__Mint *mint,
                              struct held_object *held, struct object *current)
{
    struct held_object own;
    enum status status = load(turn, mint->place, &own);
    if (status == STATUS_STORE_BROKEN || status == STATUS_NO_MEMORY) return status;
    *current = own.object;
    status = load_hint(replica, turn, mint->hint_for, mint->place, held);
    if (status == STATUS_STORE_BROKEN || status == STATUS_NO_MEMORY) return status;
    return gather_hints(replica, turn, mint->place, mint->rule, current);
}

static enum status gather(struct replica *replica, struct turn *turn, const Dynode__Peer__Mint *mint,
                          struct held_object *held, struct object *current)
{
    enum status status = mint->hint_for != 0 ? gather_any(replica, turn, mint, held, current)
                                             : gather_own(replica, turn, mint, held, current);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < mint->n_others; i++) {
        struct object other;
        ProtobufCBinaryData encoded = mint->others[i];
        if (encoded.len == 0) continue;
        status = object_decode(bytes_of(encoded.data, encoded.len), turn->arena, &other);
        if (status != STATUS_OK) return status;
        if (mint->hint_for == 0)
            other = copies_admit(replica->copies, mint->place->vnode, homes_of(replica, turn, mint->place),
                                 current, &other, turn->arena);
        *current = object_merge(current, &other, mint->rule, turn->arena);
    }
    if (!object_fits(current)) return STATUS_TOO_LARGE;
    judge_context(replica, mint->place->vnode, &current->context);
    return STATUS_OK;
}

static enum status mint(struct replica *replica, struct turn *turn, const Dynode__Peer__Mint *mint,
                        struct bytes *encoded, bool *alone)
{
    struct held_object held;
    struct object current, result;
    enum status status = gather(replica, turn, mint, &held, &current);
    if (status != STATUS_OK) return status;
    struct vv context = mint->cover_all ? current.context : mint_context(mint, turn->arena);
    struct write_token token = {.client = mint->token_client, .sequence = mint->token_sequence};

    const struct sibling *before = object_find_token(&current, token);
    if (before != NULL) { /* a retry of a write that is already here */
        *encoded = object_encode(&current, turn->arena);
        *alone = current.count == 1;
        return bytes_equal(held.encoded, *encoded) ? STATUS_OK
                                                   : save(replica, turn, &held, &current, *encoded);
    }
    if (mint->only_if_held) return STATUS_NOT_FOUND;
    if (!precondition_holds(mint, &current, &context, turn->wall_ms)) {
        *encoded = object_encode(&current, turn->arena);
        return STATUS_CONFLICT;
    }
    judge_context(replica, mint->place->vnode, &context);
    uint64_t floor = object_stamp_max(&current);
    if (mint->stamp_floor > floor) floor = mint->stamp_floor;
    struct sibling write = {
        .stamp = hlc_mint(&replica->hlc, turn->wall_ms, floor),
        .token = token,
        .expires_ms = mint->expires_ms,
        .tombstone = mint->tombstone,
        .value = bytes_of(mint->value.data, mint->value.len),
    };
    status = mint_dot(replica, turn, mint, &write.dot);
    if (status != STATUS_OK) return status;
    status = object_write(&current, &context, &write, mint->rule, turn->arena, &result);
    if (status != STATUS_OK) {
        *encoded = object_encode(&current, turn->arena);
        return status;
    }
    *encoded = object_encode(&result, turn->arena);
    *alone = result.count == 1 && dot_compare(result.siblings[0].dot, write.dot) == 0;
    return save(replica, turn, &held, &result, *encoded);
}

static void receive_mint(struct replica *replica, struct turn *turn, const struct mail *mail)
{
    CHECK(address_is(mail->from, turn->self));
    const Dynode__Peer__Mint *message = mail->body;
    Dynode__Peer__Minted *minted = ARENA_NEW(turn->arena, Dynode__Peer__Minted);
    dynode__peer__minted__init(minted);
    struct bytes encoded = {0};
    bool alone = false;
    minted->status = is_full(turn) ? STATUS_OVERLOADED : mint(replica, turn, message, &encoded, &alone);
    minted->object = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)encoded.data, .len = encoded.size};
    minted->alone = alone;
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_MINTED, minted);
    if (minted->status != STATUS_OK) return;
    Dynode__Peer__Merged *vote = ARENA_NEW(turn->arena, Dynode__Peer__Merged);
    dynode__peer__merged__init(vote);
    turn_send_durable(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_MERGED, vote);
}

/* --- ReapOn --- */

static void receive_reap_on(struct replica *replica, struct turn *turn, const Dynode__Peer__ReapOn *message)
{
    if (message->missing.len > 0)
        reap_find(replica->reap, turn, &replica->homes, from_pb(message->missing));
    else if (message->due)
        reap_set_due(replica->reap, turn, message->vnode);
    else
        reap_step(replica->reap, turn, replica->copies, replica->forest, &replica->homes);
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct replica *replica = (struct replica *)actor;
    bool inside = mail->kind == DYNODE__PEER__MESSAGE__BODY_MINT ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_DROP_HINT ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_EXCHANGED ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_BORN ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_REAPED ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_COPY_LOST ||
                  mail->kind == DYNODE__PEER__MESSAGE__BODY_REAP_ON;
    if (inside && !address_is(mail->from, turn->self)) {
        turn->counters->invalid++; /* nobody mints, drops or fills for another shard */
        return;
    }
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_READ:
        receive_read(replica, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_MERGE:
        receive_merge(replica, turn, mail, DYNODE__PEER__MESSAGE__BODY_MERGED);
        break;
    case DYNODE__PEER__MESSAGE__BODY_HAND_OFF:
        receive_merge(replica, turn, mail, DYNODE__PEER__MESSAGE__BODY_HANDED_OFF);
        break;
    case DYNODE__PEER__MESSAGE__BODY_DROP_HINT:
        receive_drop_hint(replica, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_MINT:
        receive_mint(replica, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_EXCHANGED:
        replica_exchanged(replica->copies, replica->reap, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_EXCHANGE_DONE:
        replica_exchange_done(replica->copies, replica->reap, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_REAPED:
        replica_reaped(replica->copies, replica->reap, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_COPY_LOST:
        replica_copy_lost(replica->copies, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_REAP_ON:
        receive_reap_on(replica, turn, mail->body);
        break;
    case DYNODE__PEER__MESSAGE__BODY_BORN:
        receive_born(replica, turn);
        break;
    default:
        CHECK(mail->kind == DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD);
        replica_scan(turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct replica *replica = (const struct replica *)actor;
    bool whole = true;
    for (uint32_t i = 0; i < replica->vnodes; i++)
        whole &= (replica->stand_ins[i].clock == 0) == (replica->stand_ins[i].counter == 0);
    CHECK(whole);
}

static void free_replica(struct actor *actor)
{
    struct replica *replica = (struct replica *)actor;
    hints_fini(replica->hints);
    free(replica->hints);
    free(replica->stand_ins);
    copies_fini(replica->copies);
    free(replica->copies);
    reap_fini(replica->reap);
    free(replica->reap);
    free(replica);
}

void replica_add(struct shard *shard, uint32_t vnodes, struct forest *forest, struct hints *hints,
                 struct copies *copies, struct reap *reap)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_READ,          DYNODE__PEER__MESSAGE__BODY_MERGE,
        DYNODE__PEER__MESSAGE__BODY_HAND_OFF,      DYNODE__PEER__MESSAGE__BODY_MINT,
        DYNODE__PEER__MESSAGE__BODY_DROP_HINT,     DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD,
        DYNODE__PEER__MESSAGE__BODY_EXCHANGED,     DYNODE__PEER__MESSAGE__BODY_BORN,
        DYNODE__PEER__MESSAGE__BODY_EXCHANGE_DONE, DYNODE__PEER__MESSAGE__BODY_REAPED,
        DYNODE__PEER__MESSAGE__BODY_COPY_LOST,     DYNODE__PEER__MESSAGE__BODY_REAP_ON,
    };
    struct replica *replica = calloc(1, sizeof(*replica));
    CHECK(replica != NULL);
    replica->actor =
        (struct actor){.name = "replica", .receive = receive, .check = check, .free = free_replica};
    replica->vnodes = vnodes;
    replica->forest = forest;
    replica->hints = hints;
    replica->copies = copies;
    replica->reap = reap;
    replica->stand_ins = calloc(vnodes, sizeof(*replica->stand_ins));
    CHECK(replica->stand_ins != NULL);
    shard_add_actor(shard, &replica->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
}
