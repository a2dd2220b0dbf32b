/* Shard: mail in, one turn, outbox out. See shard.h for the order in which a host calls this. */
#include "actor/shard.h"

#include <stdlib.h>

#include "actor/shard_state.h"
#include "base/check.h"
#include "wire/batch.h"

struct shard *shard_alloc(const struct shard_options *options)
{
    CHECK(options->self.node != 0);
    CHECK(options->self.shard < options->shards);
    struct shard *shard = calloc(1, sizeof(*shard));
    CHECK(shard != NULL);
    shard->options = *options;
    arena_init(&shard->arena, 0);
    prng_init(&shard->prng, options->seed);
    outbox_init(&shard->outbox, options->self.node, options->self.shard);
    shard->peers.self = options->self.node;
    shard->turn = (struct turn){
        .self = options->self,
        .shards = options->shards,
        .shard = shard,
        .arena = &shard->arena,
        .store = options->store,
        .prng = &shard->prng,
        .peers = &shard->peers,
        .counters = &shard->counters,
    };
    return shard;
}

static void item_release(struct item *item)
{
    if (item->release != NULL) item->release(item->owner);
}

static void arrivals_fini(struct arrivals *arrivals)
{
    for (uint32_t i = 0; i < arrivals->count; i++)
        item_release(&arrivals->items[(arrivals->first + i) % arrivals->capacity]);
    free(arrivals->items);
}

static void free_retired(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->retired_count; i++) {
        cluster_fini(shard->retired[i].cluster);
        free(shard->retired[i].cluster);
        if (shard->retired[i].ring != NULL) ring_free(shard->retired[i].ring);
    }
    shard->retired_count = 0;
}

void shard_free(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->actor_count; i++) shard->actors[i]->free(shard->actors[i]);
    arrivals_fini(&shard->mail);
    arrivals_fini(&shard->beats);
    free(shard->local);
    free_retired(shard);
    free(shard->retired);
    if (shard->cluster != NULL) {
        cluster_fini(shard->cluster);
        free(shard->cluster);
    }
    if (shard->ring != NULL) ring_free(shard->ring);
    timers_fini(&shard->timers);
    peers_fini(&shard->peers);
    outbox_fini(&shard->outbox);
    release_fini(&shard->release);
    arena_fini(&shard->arena);
    free(shard);
}

void shard_add_actor(struct shard *shard, struct actor *actor, const Dynode__Peer__Message__BodyCase *kinds,
                     uint32_t kind_count)
{
    CHECK(shard->actor_count < SHARD_ACTORS_MAX);
    shard->actors[shard->actor_count++] = actor;
    for (uint32_t i = 0; i < kind_count; i++) {
        CHECK((unsigned)kinds[i] < SHARD_KINDS_MAX);
        CHECK(shard->by_kind[kinds[i]] == NULL);
        shard->by_kind[kinds[i]] = actor;
    }
}

void shard_set_client_actor(struct shard *shard, struct actor *actor)
{
    shard->client_actor = actor;
}

void shard_set_cluster(struct shard *shard, struct cluster *cluster)
{
    turn_adopt_cluster(&shard->turn, cluster);
    free_retired(shard);
}

/* --- mail --- */

static void push(struct arrivals *arrivals, struct item item)
{
    if (arrivals->count == arrivals->capacity) {
        uint32_t capacity = arrivals->capacity == 0 ? 64 : arrivals->capacity * 2;
        struct item *items = malloc(capacity * sizeof(*items));
        CHECK(items != NULL);
        for (uint32_t i = 0; i < arrivals->count; i++)
            items[i] = arrivals->items[(arrivals->first + i) % arrivals->capacity];
        free(arrivals->items);
        arrivals->items = items;
        arrivals->first = 0;
        arrivals->capacity = capacity;
    }
    arrivals->items[(arrivals->first + arrivals->count++) % arrivals->capacity] = item;
    arrivals->fresh++;
    arrivals->bytes += item.bytes.size;
}

static void push_copy(struct arrivals *arrivals, struct item item)
{
    uint8_t *copy = malloc(item.bytes.size + 1);
    CHECK(copy != NULL);
    if (item.bytes.size > 0) memcpy(copy, item.bytes.data, item.bytes.size);
    item.bytes.data = copy;
    item.release = free;
    item.owner = copy;
    push(arrivals, item);
}

static void deliver(struct arrivals *arrivals, uint64_t from_node, struct bytes batch,
                    void (*release)(void *owner), void *owner)
{
    struct item item = {
        .kind = ITEM_BATCH, .from = from_node, .bytes = batch, .release = release, .owner = owner};
    if (release != NULL)
        push(arrivals, item);
    else
        push_copy(arrivals, item);
}

void shard_deliver(struct shard *shard, uint64_t from_node, struct bytes batch, void (*release)(void *owner),
                   void *owner)
{
    if (from_node == 0) from_node = shard->options.self.node;
    deliver(&shard->mail, from_node, batch, release, owner);
}

void shard_deliver_lane(struct shard *shard, uint64_t from_node, enum link_lane lane, struct bytes batch,
                        void (*release)(void *owner), void *owner)
{
    deliver(lane == LANE_BEATS ? &shard->beats : &shard->mail, from_node, batch, release, owner);
}

void shard_client_frame(struct shard *shard, uint64_t connection, struct bytes payload)
{
    push_copy(&shard->mail, (struct item){.kind = ITEM_CLIENT_FRAME, .from = connection, .bytes = payload});
}

void shard_client_closed(struct shard *shard, uint64_t connection)
{
    push(&shard->mail, (struct item){.kind = ITEM_CLIENT_CLOSED, .from = connection});
}

void shard_link_changed(struct shard *shard, uint64_t node, bool up)
{
    push(&shard->mail, (struct item){.kind = up ? ITEM_LINK_UP : ITEM_LINK_DOWN, .from = node});
}

bool shard_has_mail(const struct shard *shard)
{
    return shard->mail.count > 0 || shard->beats.count > 0;
}

size_t shard_mail_bytes(const struct shard *shard)
{
    return shard->mail.bytes;
}

size_t shard_lane_bytes(const struct shard *shard, enum link_lane lane)
{
    return lane == LANE_BEATS ? shard->beats.bytes : shard->mail.bytes;
}

uint64_t shard_next_timer_ns(const struct shard *shard)
{
    return timers_next(&shard->timers);
}

/* --- a turn --- */

/* Hand over what actors of this shard have sent each other, in order, and what that makes them send. */
static uint32_t run_local(struct shard *shard)
{
    uint32_t done = 0;
    for (; done < shard->local_count; done++) {
        struct mail mail = shard->local[done];
        struct actor *actor = shard_actor_for(shard, mail.kind);
        CHECK(actor != NULL);
        actor->receive(actor, &shard->turn, &mail);
    }
    shard->local_count = 0;
    return done;
}

static void heard_from(struct shard *shard, uint64_t node)
{
    struct peer *peer = (struct peer *)(uintptr_t)peers_find(&shard->peers, node);
    if (peer != NULL) peer->heard_ns = shard->turn.now_ns;
}

/* A message that is another shard's goes on to it within the node, with the name of its sender. */
static void pass_on(struct shard *shard, Dynode__Peer__Message *message, struct address from)
{
    struct turn *turn = &shard->turn;
    message->origin_node = from.node;
    message->origin_shard = from.shard;
    uint32_t to = message->to_shard % turn->shards;
    struct outbox_queue *queue = outbox_queue(&shard->outbox, turn->self.node, to);
    if (turn_has_no_room(queue, message->body_case)) {
        queue->dropped++;
        shard->counters.dropped++;
        return;
    }
    if (queue->batch.size == 0) batch_begin(&queue->batch, turn->self.node, turn->self.shard);
    batch_add(&queue->batch, message);
}

static void receive(struct shard *shard, struct bytes packed, struct address from)
{
    struct turn *turn = &shard->turn;
    Dynode__Peer__Message *message;
    if (message_unpack(packed, turn->arena, &message) != STATUS_OK) {
        shard->counters.invalid++;
        return;
    }
    bool inside = from.node == turn->self.node;
    if (inside && message->origin_node != 0) {
        from = (struct address){.node = message->origin_node, .shard = message->origin_shard};
        heard_from(shard, from.node);
    }
    if (message->to_shard % turn->shards != turn->self.shard) {
        pass_on(shard, message, from);
        return;
    }
    struct actor *actor = shard_actor_for(shard, message->body_case);
    if (actor == NULL) {
        shard->counters.invalid++;
        return;
    }
    struct mail mail = {
        .from = from, .request = message->request, .kind = message->body_case, .body = message->ping};
    actor->receive(actor, turn, &mail);
}

/* Read on in the batch at the head of what has arrived. True when it is used up. */
static bool read_batch(struct shard *shard, struct arrivals *arrivals, struct item *item)
{
    if (!item->opened) {
        item->opened = true;
        struct bytes rest;
        if (batch_open(item->bytes, &item->sender.node, &item->sender.shard, &rest) != STATUS_OK ||
            item->sender.node != item->from) {
            shard->counters.invalid++;
            return true;
        }
        arrivals->bytes -= item->bytes.size - rest.size;
        item->bytes = rest;
        heard_from(shard, item->sender.node);
    }
    struct bytes before = item->bytes, message;
    enum status status = batch_next(&item->bytes, &message);
    if (status == STATUS_INVALID) shard->counters.invalid++;
    if (status != STATUS_OK) return true;
    arrivals->bytes -= before.size - item->bytes.size;
    struct address sender = item->sender;
    bool last = item->bytes.size == 0;
    receive(shard, message, sender);
    return last;
}

static void link_changed(struct shard *shard, uint64_t node, bool up)
{
    struct peer *peer = peers_find_or_add(&shard->peers, node);
    if (peer == NULL) return;
    peer_set_link(peer, up, shard->turn.now_ns);
    turn_judge_peers(&shard->turn);
    for (uint32_t i = 0; up && i < shard->actor_count; i++) {
        struct actor *actor = shard->actors[i];
        if (actor->linked != NULL) actor->linked(actor, &shard->turn, node);
    }
}

/* What came since the last turn waits from now on. */
static void stamp(struct arrivals *arrivals, uint64_t now_ns)
{
    for (; arrivals->fresh > 0; arrivals->fresh--) {
        uint32_t place = arrivals->first + arrivals->count - arrivals->fresh;
        arrivals->items[place % arrivals->capacity].since_ns = now_ns;
    }
}

static uint64_t oldest_wait_ns(const struct arrivals *arrivals, uint64_t now_ns)
{
    return arrivals->count == 0 ? 0 : now_ns - arrivals->items[arrivals->first].since_ns;
}

/* Deliver one message. */
static void deliver_one(struct shard *shard, struct arrivals *arrivals)
{
    struct item *item = &arrivals->items[arrivals->first];
    struct actor *client = shard->client_actor;
    bool done = true;
    shard->turn.waited_ns = shard->turn.now_ns - item->since_ns;
    switch (item->kind) {
    case ITEM_BATCH:
        done = read_batch(shard, arrivals, item);
        break;
    case ITEM_CLIENT_FRAME:
        if (client != NULL) client->client_frame(client, &shard->turn, item->from, item->bytes);
        break;
    case ITEM_CLIENT_CLOSED:
        if (client != NULL) client->client_closed(client, &shard->turn, item->from);
        break;
    case ITEM_LINK_UP:
    case ITEM_LINK_DOWN:
        link_changed(shard, item->from, item->kind == ITEM_LINK_UP);
        break;
    }
    shard->turn.waited_ns = 0;
    if (!done) return;
    arrivals->bytes -= item->bytes.size;
    item_release(item);
    arrivals->first = (arrivals->first + 1) % arrivals->capacity;
    arrivals->count--;
}

static bool has_link(const struct shard *shard, uint64_t node)
{
    const struct peer *peer = peers_find(&shard->peers, node);
    return peer != NULL && peer->link;
}

/* What waited for a turn that is durable goes to the outbox, or, to this shard itself, into its mail. */
void shard_durable(struct shard *shard, uint64_t turn)
{
    CHECK(turn <= shard->committed_turn);
    if (turn > shard->durable_turn) shard->durable_turn = turn;
    struct buffer own = {0};
    struct held held;
    struct bytes field;
    const struct address self = shard->options.self;
    while (release_take(&shard->release, turn, &held, &field)) {
        if (held.node == self.node && held.shard == self.shard) {
            if (own.size == 0) batch_begin(&own, self.node, self.shard);
            batch_add_packed(&own, field);
        } else if (held.node != self.node && !has_link(shard, held.node)) {
            continue; /* silence, as in turn_send: it was for the link that is gone */
        } else if (!outbox_add(&shard->outbox, held.node, held.shard, field)) {
            shard->counters.dropped++;
        }
    }
    if (own.size > 0) shard_deliver(shard, self.node, buffer_bytes(&own), free, own.data);
}

/* Commit, and number the turn if anything waits for it. */
static enum status end_turn(struct shard *shard)
{
    bool wrote = store_staged_bytes(shard->options.store) > 0;
    if (shard->turn.store_broken || store_commit(shard->options.store) != STATUS_OK)
        return STATUS_STORE_BROKEN;
    if (wrote || release_holds(&shard->release, shard->committed_turn + 1)) {
        bool all_durable = shard->durable_turn == shard->committed_turn;
        shard->committed_turn++;
        if (!wrote && all_durable) shard_durable(shard, shard->committed_turn);
    }
    return STATUS_OK;
}

enum status shard_turn(struct shard *shard, uint64_t now_ns, uint64_t wall_ms)
{
    struct turn *turn = &shard->turn;
    turn->now_ns = now_ns;
    turn->wall_ms = wall_ms;
    shard->counters.turns++;
    stamp(&shard->mail, now_ns);
    stamp(&shard->beats, now_ns);
    shard->counters.mail_wait_us = oldest_wait_ns(&shard->mail, now_ns) / 1000;
    uint32_t messages = 0;
    struct actor *actor;
    uint64_t argument;
    while (messages < SHARD_TURN_MESSAGES && timers_take_due(&shard->timers, now_ns, &actor, &argument)) {
        actor->timeout(actor, turn, argument);
        messages += 1 + run_local(shard);
    }
    while (shard_has_mail(shard) && messages < SHARD_TURN_MESSAGES &&
           store_staged_bytes(turn->store) < SHARD_TURN_WRITE_BYTES &&
           shard->arena.used_bytes < SHARD_TURN_ARENA_BYTES) {
        deliver_one(shard, shard->beats.count > 0 ? &shard->beats : &shard->mail);
        messages += 1 + run_local(shard);
    }
    enum status status = end_turn(shard);
    arena_reset(&shard->arena);
    free_retired(shard);
    if (status != STATUS_OK) outbox_fini(&shard->outbox);
    return status;
}

uint64_t shard_committed_turn(const struct shard *shard)
{
    return shard->committed_turn;
}

uint64_t shard_durable_turn(const struct shard *shard)
{
    return shard->durable_turn;
}

struct outbox *shard_outbox(struct shard *shard)
{
    return &shard->outbox;
}

struct counters *shard_counters(struct shard *shard)
{
    return &shard->counters;
}

struct turn *shard_turn_context(struct shard *shard)
{
    return &shard->turn;
}

void shard_check(const struct shard *shard)
{
    for (uint32_t i = 0; i < shard->actor_count; i++)
        if (shard->actors[i]->check != NULL) shard->actors[i]->check(shard->actors[i]);
}
