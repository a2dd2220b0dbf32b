#include "actors/antientropy.h"

#include <stdlib.h>

#include "actors/antientropy_state.h"
#include "base/hash.h"
#include "wire/pack.h"

static const uint64_t ms = 1000000;

/* --- what all parts use --- */

void antientropy_wake(struct antientropy *self, struct turn *turn, uint64_t at_ns)
{
    if (self->options.pass_ns == 0) return;
    if (at_ns <= turn->now_ns) at_ns = turn->now_ns + 1; /* in a later turn */
    if (self->timer != 0 && self->timer_ns <= at_ns) return;
    turn_disarm(turn, self->timer);
    self->timer = turn_arm(turn, &self->actor, at_ns, 0);
    self->timer_ns = at_ns;
}

bool antientropy_is_unsure(const struct antientropy *self, uint32_t vnode)
{
    return self->strangers || forest_is_distrusted(self->forest, vnode);
}

void antientropy_note_equal(struct antientropy *self, const struct turn *turn, uint32_t vnode, uint32_t n,
                            uint64_t node, uint64_t at_ns)
{
    if (ring_is_home(turn->ring, vnode, n, turn->self.node) && ring_is_home(turn->ring, vnode, n, node))
        proofs_note(self->proofs, vnode, n, node, at_ns);
}

void antientropy_mark_dirty(struct antientropy *self, struct turn *turn, uint32_t vnode)
{
    if (self->dirty[vnode]) return;
    self->dirty[vnode] = true;
    self->dirty_count++;
    uint64_t after_ns = self->dirty_after_ns[vnode];
    if (self->dirty_ns > after_ns) self->dirty_ns = after_ns;
    antientropy_wake(self, turn, after_ns);
}

static struct refusal *refusal_of(const struct antientropy *self, uint64_t node)
{
    for (uint32_t i = 0; i < self->refusal_count; i++)
        if (self->refusals[i].node == node) return &self->refusals[i];
    return NULL;
}

void antientropy_note_refusal(struct antientropy *self, const struct turn *turn, uint64_t node)
{
    struct refusal *refusal = refusal_of(self, node);
    if (refusal == NULL) {
        self->refusals = realloc(self->refusals, (self->refusal_count + 1) * sizeof(*self->refusals));
        CHECK(self->refusals != NULL);
        refusal = &self->refusals[self->refusal_count++];
        refusal->node = node;
    }
    refusal->until_ns = turn->now_ns + self->options.pass_ns;
}

bool antientropy_is_refused(const struct antientropy *self, const struct turn *turn, uint64_t node)
{
    const struct refusal *refusal = refusal_of(self, node);
    return refusal != NULL && turn->now_ns < refusal->until_ns;
}

void antientropy_send(struct antientropy *self, struct turn *turn, struct address to, uint64_t request,
                      Dynode__Peer__Message__BodyCase kind, const ProtobufCMessage *body)
{
    size_t size = pack_size(body);
    turn->counters->repair_bytes += size;
    governor_spend(self->governor, size, 1);
    turn_send(turn, to, request, kind, body);
}

void antientropy_observe(struct antientropy *self, const struct turn *turn, uint64_t lag_ns)
{
    struct governor_load load = {.mail_bytes = shard_mail_bytes(turn->shard),
                                 .wait_ns = turn->counters->mail_wait_us * 1000,
                                 .operations = turn->counters->in_flight,
                                 .lag_ns = lag_ns};
    governor_observe(self->governor, turn->now_ns, &load);
}

void antientropy_expect(struct antientropy *self, struct turn *turn, uint32_t place, uint64_t *id,
                        uint64_t *timer)
{
    self->generation = request_id_generation((uint64_t)self->generation + 1);
    *id = request_id(self->generation, place);
    turn_disarm(turn, *timer);
    *timer = turn_arm(turn, &self->actor, turn->now_ns + ANTIENTROPY_TIMEOUT_NS, *id);
}

bool antientropy_place(struct antientropy *self, const struct turn *turn, struct bytes store_key,
                       struct store_place *place, const struct table **table)
{
    if (!store_key_decode(store_key, place) || place->key.size > KEY_BYTES_MAX) return false;
    if (place->vnode != ring_vnode(turn->ring, place->hash)) return false;
    if (place->vnode % turn->shards != turn->self.shard) return false;
    if (hash64(place->key, place->tag) != place->hash) return false;
    *table = table_homes_find(&self->homes, turn, place->tag);
    return true;
}

bool antientropy_place_in(struct antientropy *self, const struct turn *turn, struct bytes store_key,
                          uint32_t vnode, uint32_t n, struct store_place *place, const struct table **table)
{
    return antientropy_place(self, turn, store_key, place, table) && place->vnode == vnode &&
           table_homes_count(*table, turn) == n;
}

enum status antientropy_load(struct antientropy *self, struct turn *turn, struct bytes store_key,
                             struct bytes *encoded)
{
    struct bytes stored;
    *encoded = bytes_of(NULL, 0);
    turn->counters->repair_reads++;
    enum status status = store_get(turn->store, STORE_OBJECTS, store_key, turn->arena, &stored);
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    if (status != STATUS_OK) return status;
    status = object_unseal(store_key, stored, encoded);
    if (status == STATUS_CORRUPT) mend_note(self, turn, store_key, false);
    return status;
}

void antientropy_merge(struct turn *turn, const struct store_place *place, const struct table *table,
                       struct bytes encoded, const struct merge_as *as)
{
    Dynode__Peer__Merge *merge = ARENA_NEW(turn->arena, Dynode__Peer__Merge);
    Dynode__Peer__Place *at = ARENA_NEW(turn->arena, Dynode__Peer__Place);
    dynode__peer__merge__init(merge);
    dynode__peer__place__init(at);
    at->vnode = place->vnode;
    at->hash = place->hash;
    at->tag = place->tag;
    at->key = to_pb(place->key);
    merge->place = at;
    merge->rule = table->rule;
    merge->n = table->n;
    merge->object = to_pb(encoded);
    merge->agreed = as->agreed;
    merge->vouched = as->vouched;
    merge->judged = as->judged;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_MERGE, merge);
}

void antientropy_join_reaped(struct antientropy *self, struct turn *turn, uint32_t vnode, uint32_t n,
                             const struct vv *reaped)
{
    struct vv own = copies_reaped(self->copies, vnode, n);
    if (vv_descends(&own, reaped)) return;
    Dynode__Peer__Reaped *message = ARENA_NEW(turn->arena, Dynode__Peer__Reaped);
    dynode__peer__reaped__init(message);
    message->vnode = vnode;
    message->n = n;
    clocks_lists(reaped, turn->arena, &message->clocks, &message->counters, &message->n_clocks,
                 &message->n_counters);
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_REAPED, message);
    antientropy_wake(self, turn, turn->now_ns); /* then something may be due */
}

/* --- whose turn it is --- */

static void distrust_all(struct antientropy *self, const struct turn *turn)
{
    for (uint32_t v = turn->self.shard; v < turn->cluster->vnodes; v += turn->shards)
        forest_distrust(self->forest, v);
    self->strangers = false;
}

/* Tables come, and their number of homes changes when two births of one meet or nodes come: then objects
 * belong to another tree than the one in which they were counted. */
static void look_at_tables(struct antientropy *self, struct turn *turn)
{
    const struct cluster *cluster = turn->cluster;
    uint32_t as_before = 0, before = self->tables.count;
    bool more = false;
    self->ns = 0;
    for (uint32_t i = 0; i < cluster->table_count; i++) {
        uint32_t n = table_homes_count(&cluster->tables[i], turn);
        uint64_t words[] = {cluster->tables[i].tag, n};
        uint64_t name = hash64(bytes_of(words, sizeof(words)), 0) | 1;
        self->ns |= UINT32_C(1) << n;
        if (map_get(&self->tables, name) != NULL) {
            as_before++;
        } else {
            map_put(&self->tables, name, self);
            more = true;
        }
    }
    if (as_before < before) {
        distrust_all(self, turn);
        Dynode__Peer__CopyLost *lost = ARENA_NEW(turn->arena, Dynode__Peer__CopyLost);
        dynode__peer__copy_lost__init(lost);
        turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_COPY_LOST, lost);
        map_fini(&self->tables); /* what is forgotten is noted at the next look */
    } else if (more && self->strangers) {
        distrust_all(self, turn);
    }
}

/* Do what the governor allows, and be woken for what is left. */
static void pump(struct antientropy *self, struct turn *turn)
{
    struct pass *pass = &self->pass;
    if (self->options.pass_ns == 0) return;
    blank_step(self, turn);
    for (;;) {
        if (turn->store_broken) return;
        if (!governor_may(self->governor, turn->now_ns)) {
            uint64_t when_ns = governor_when(self->governor, turn->now_ns);
            uint64_t look_ns = turn->now_ns + GOVERNOR_OBSERVE_NS;
            antientropy_wake(self, turn, when_ns < look_ns ? when_ns : look_ns);
            return;
        }
        struct exchange *exchange = NULL, *unused = jobs_place(self, turn);
        for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES && exchange == NULL; i++)
            if (exchange_is_ready(&self->exchanges[i], turn->now_ns)) exchange = &self->exchanges[i];
        if (turn->now_ns >= self->audit.next_ns) {
            audit_step(self, turn);
        } else if (mend_is_ready(self, turn)) {
            mend_step(self, turn);
        } else if (exchange != NULL) {
            exchange_step(self, turn, exchange);
        } else if (unused != NULL && self->jobs.count > 0) {
            struct job job = jobs_take(&self->jobs);
            if (jobs_is_worth(self, turn, &job)) exchange_begin(unused, &job);
        } else if (jobs_has_due(self) && turn->now_ns >= self->reaping.step_ns) {
            jobs_step_reaping(self, turn);
        } else if (unused != NULL && (jobs_look_for_unfilled(self, turn) || jobs_look_for_dirty(self, turn) ||
                                      jobs_look_for_reaping(self, turn))) {
            continue;
        } else if (unused != NULL && !pass->waits && (pass->under_way || turn->now_ns >= pass->next_ns)) {
            jobs_step_pass(self, turn);
        } else {
            break;
        }
    }
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++)
        if (!self->exchanges[i].waits && self->exchanges[i].rest_ns > turn->now_ns)
            antientropy_wake(self, turn, self->exchanges[i].rest_ns);
    antientropy_wake(self, turn, self->audit.next_ns);
    if (!pass->under_way) antientropy_wake(self, turn, pass->next_ns);
    if (self->mend.count > 0 && !self->mend.waits) antientropy_wake(self, turn, self->mend.next_ns);
    /* What is due already has to wait for some exchange's end. */
    if (self->dirty_count > 0 && self->dirty_ns > turn->now_ns) antientropy_wake(self, turn, self->dirty_ns);
    if (!self->copies->born && self->fill.next_ns > turn->now_ns)
        antientropy_wake(self, turn, self->fill.next_ns);
    if (jobs_has_due(self)) antientropy_wake(self, turn, self->reaping.step_ns);
    if (self->reap->on && self->reap->count > 0 && self->reaping.next_ns > turn->now_ns)
        antientropy_wake(self, turn, self->reaping.next_ns);
}

static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct antientropy *self = (struct antientropy *)actor;
    if (argument == 0) {
        uint64_t lag_ns = turn->now_ns - self->timer_ns;
        self->timer = 0;
        antientropy_observe(self, turn, self->timer_ns > 1 ? lag_ns : 0);
        look_at_tables(self, turn);
    } else if (argument == self->pass.id) {
        self->pass.timer = 0;
        self->pass.waits = false; /* that peer's other shards may be no better, but what is lost is little */
    } else if (argument == self->mend.id && self->mend.waits) {
        mend_timeout(self, turn);
    } else {
        struct exchange *exchange = &self->exchanges[(uint32_t)argument % ANTIENTROPY_EXCHANGES];
        if (exchange->id != argument || !exchange->waits) return;
        exchange->timer = 0;
        exchange_end(turn, exchange);
    }
    pump(self, turn);
}

static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct antientropy *self = (struct antientropy *)actor;
    if (self->options.pass_ns == 0) return;
    struct refusal *refusal = refusal_of(self, node);
    if (refusal != NULL) refusal->until_ns = 0; /* it may have got room meanwhile */
    if (reachable) {                            /* it may have missed something */
        blank_ask(self, turn, node);
        uint64_t soon_ns = turn->now_ns + 100 * ms;
        if (self->pass.next_ns > soon_ns) self->pass.next_ns = soon_ns;
        if (self->mend.next_ns > soon_ns) self->mend.next_ns = soon_ns;
        if (self->fill.next_ns > soon_ns) self->fill.next_ns = soon_ns;
        antientropy_wake(self, turn, soon_ns);
        return;
    }
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++)
        if (self->exchanges[i].phase != EXCHANGE_FREE && self->exchanges[i].node == node)
            exchange_end(turn, &self->exchanges[i]);
    antientropy_wake(self, turn, turn->now_ns); /* others may have waited for their places */
}

static void receive_dirty(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__MarkDirty *dirty = mail->body;
    if (!address_is(mail->from, turn->self) || dirty->vnode >= turn->cluster->vnodes) {
        turn->counters->invalid++; /* nobody marks for another shard */
        return;
    }
    if (self->options.pass_ns == 0) return;
    if (dirty->damaged == NULL) {
        antientropy_mark_dirty(self, turn, dirty->vnode);
        return;
    }
    struct store_place place = {.vnode = dirty->damaged->vnode,
                                .hash = dirty->damaged->hash,
                                .tag = dirty->damaged->tag,
                                .key = from_pb(dirty->damaged->key)};
    mend_note(self, turn, store_key_encode(&place, turn->arena), false);
}

/* An answer belongs to whoever asked under its id; else it is late, or comes twice. */
static void receive_answer(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    uint64_t place = mail->request & UINT32_MAX;
    if (place == PLACE_ROOTS) {
        bool good = mail->request == self->pass.id && self->pass.waits &&
                    mail->from.node == self->pass.node &&
                    mail->kind == DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER;
        if (good) jobs_roots_answered(self, turn, mail);
    } else if (place == PLACE_MEND) {
        bool good = mail->request == self->mend.id && self->mend.waits &&
                    mail->kind == DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED;
        if (good) mend_answered(self, turn, mail);
    } else if (place < ANTIENTROPY_EXCHANGES) {
        struct exchange *exchange = &self->exchanges[place];
        bool good = exchange->id == mail->request && exchange->waits && exchange->node == mail->from.node;
        if (good) exchange_answered(self, turn, exchange, mail);
    }
    pump(self, turn);
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct antientropy *self = (struct antientropy *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY:
        receive_dirty(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER:
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED:
    case DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED:
        receive_answer(self, turn, mail);
        break;
    case DYNODE__PEER__MESSAGE__BODY_BLANK:
        blank_answered(self, turn, mail);
        break;
    default:
        antientropy_answer(self, turn, mail);
    }
}

static void check(const struct actor *actor)
{
    const struct antientropy *self = (const struct antientropy *)actor;
    CHECK(self->jobs.count <= JOBS_MAX);
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++) {
        const struct exchange *exchange = &self->exchanges[i];
        if (exchange->waits) CHECK(exchange->phase != EXCHANGE_FREE);
        CHECK(exchange->want_next <= exchange->want_count);
    }
    if (self->mend.waits) CHECK(self->mend.count > 0);
}

static void free_antientropy(struct actor *actor)
{
    struct antientropy *self = (struct antientropy *)actor;
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++) exchange_fini(&self->exchanges[i]);
    for (uint32_t i = 0; i < ANTIENTROPY_DAMAGED; i++) buffer_fini(&self->mend.keys[i]);
    buffer_fini(&self->mend.object);
    buffer_fini(&self->audit.after);
    map_fini(&self->tables);
    blank_fini(&self->blank);
    free(self->refusals);
    forest_free(self->forest);
    free(self->governor);
    free(self->dirty);
    free(self->dirty_after_ns);
    free(self->reaping.rests);
    proofs_fini(self->proofs);
    free(self->proofs);
    free(self);
}

void antientropy_add(struct shard *shard, const struct antientropy_options *options, struct forest *forest,
                     struct governor *governor, const struct copies *copies, const struct reap *reap,
                     struct proofs *proofs)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_MARK_DIRTY,        DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS,
        DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS_ANSWER, DYNODE__PEER__MESSAGE__BODY_TREE_NODES,
        DYNODE__PEER__MESSAGE__BODY_TREE_NODES_ANSWER, DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS,
        DYNODE__PEER__MESSAGE__BODY_LEAF_KEYS_ANSWER,  DYNODE__PEER__MESSAGE__BODY_FETCH_OBJECTS,
        DYNODE__PEER__MESSAGE__BODY_OBJECTS_FETCHED,   DYNODE__PEER__MESSAGE__BODY_PUSH_OBJECTS,
        DYNODE__PEER__MESSAGE__BODY_OBJECTS_PUSHED,    DYNODE__PEER__MESSAGE__BODY_PUSHED,
        DYNODE__PEER__MESSAGE__BODY_ASK_BLANK,         DYNODE__PEER__MESSAGE__BODY_BLANK,
    };
    struct turn *turn = shard_turn_context(shard);
    struct antientropy *self = calloc(1, sizeof(*self));
    CHECK(self != NULL);
    self->actor = (struct actor){.name = "antientropy",
                                 .receive = receive,
                                 .timeout = timeout,
                                 .peer_changed = peer_changed,
                                 .check = check,
                                 .free = free_antientropy};
    self->options = *options;
    self->forest = forest;
    self->governor = governor;
    self->copies = copies;
    self->reap = reap;
    self->proofs = proofs;
    if (options->pass_ns != 0) self->generation = request_id_draw(turn->prng);
    while (blank_is_open(self) && self->blank.id == 0) self->blank.id = prng_next(turn->prng);
    self->audit.vnode = self->fill.vnode = self->reaping.vnode = turn->self.shard;
    self->dirty = calloc(turn->cluster->vnodes, sizeof(*self->dirty));
    CHECK(self->dirty != NULL);
    self->dirty_after_ns = calloc(turn->cluster->vnodes, sizeof(*self->dirty_after_ns));
    CHECK(self->dirty_after_ns != NULL);
    self->reaping.rests = calloc(turn->cluster->vnodes, sizeof(*self->reaping.rests));
    CHECK(self->reaping.rests != NULL);
    shard_add_actor(shard, &self->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
    antientropy_wake(self, turn, 0);
}

bool antientropy_is_sure(const struct actor *antientropy, uint32_t vnode)
{
    const struct antientropy *self = (const struct antientropy *)antientropy;
    return forest_is_built(self->forest, vnode) && !antientropy_is_unsure(self, vnode);
}

struct forest *antientropy_forest(const struct actor *antientropy)
{
    return ((const struct antientropy *)antientropy)->forest;
}
