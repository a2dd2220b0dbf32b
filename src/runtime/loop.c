#include "runtime/loop.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/prng.h"
#include "runtime/flusher.h"
#include "runtime/inbound.h"
#include "runtime/links.h"
#include "runtime/loop_host.h"
#include "runtime/neighbours.h"

enum phase { PHASE_RUN, PHASE_DRAIN, PHASE_STOP };

enum {
    GATHERINGS_MAX = 3,        /* polls before a sync, that it may cover more */
    ROUNDS_MAX = 4,            /* of turns and a flush, before the sockets are looked at again */
    PARCELS_MAX = 64,          /* taken from one sender before the others are looked at */
    MAIL_BYTES_MAX = 64 << 20, /* above it no more is taken from links, nor from shards of the node */
    RETRY_MS = 1,              /* how soon a full queue is tried again */
    TICK_MS = 250,             /* how often the members are looked at */
    DEAD_LINK_MS = 1500,       /* a peer that answers no heartbeat so long is dialled anew: TCP's tries of
                                  what was lost come ever later, and a link that is whole again stays dead */
    DEAD_DATA_MS = 20000,      /* likewise, pings on its link for data: they wait behind what that carries */
    REOPEN_MS = 1000,          /* pause before a lost store is replaced again */
    REOPEN_SETTLED_MS = 10000,
};

/* The links of one lane that a shard dials. */
struct lane_links {
    struct loop *loop;
    enum link_lane lane;
    struct links *links; /* NULL: no peers */
};

struct loop {
    struct loop_options options;
    uint32_t shards;
    struct store *store;
    struct shard *shard;
    struct lane_links lanes[LANES];
    struct inbound *inbound; /* that others dialled to it; NULL: no peers */
    struct mailbox *mailbox;
    struct neighbours *neighbours;
    struct buffer scratch;
    uint64_t lost_ms; /* when the store was lost last */

    uv_loop_t uv;
    uv_prepare_t work;
    uv_idle_t more;   /* active: do not wait in the poll */
    uv_timer_t timer; /* the shard's next */
    uv_timer_t retry; /* of full queues */
    uv_timer_t tick;
    uv_async_t control; /* wanted has changed */
    struct flusher *flusher;
    uv_async_t flushed;           /* a sync has ended */
    uv_poll_t *polls;             /* of each sender to the mailbox */
    int gatherings;               /* since the last sync */
    bool held[LANES];             /* nothing is received from the links of that lane */
    uint64_t ticked_ns, awake_ns; /* the last tick; since when ticks have come in time */
    uint64_t timer_ns;

    pthread_t thread;
    atomic_int wanted; /* enum phase */
    enum phase phase;
    atomic_bool quiet;
};

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

struct shard *loop_shard(struct loop *loop)
{
    return loop->shard;
}

uint32_t loop_index(const struct loop *loop)
{
    return loop->options.index;
}

uint32_t loop_shards(const struct loop *loop)
{
    return loop->shards;
}

uint64_t loop_wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the shard and its store --- */

static void shard_make(struct loop *loop)
{
    const struct node_options *node = &loop->options.node;
    loop->shard = shard_alloc(&(struct shard_options){
        .self = {.node = node->self.id, .shard = loop->options.index},
        .shards = loop->shards,
        .store = loop->store,
        .seed = loop->options.seed,
    });
    node_init(loop->shard, node);
}

/* Put an empty store in the place of the lost one. That is moved aside once: what a disk that is full lets
 * nobody finish is tried again where it is. */
static bool store_replace(struct loop *loop, const char *reason, bool *moved)
{
    const struct shard_store_options *options = &loop->options.store_options;
    char why[512];
    bool born;
    if (!*moved) *moved = shard_store_set_aside(options, reason, why, sizeof(why)) == STATUS_OK;
    if (*moved && shard_store_open(options, NULL, why, sizeof(why), &loop->store, &born) == STATUS_OK)
        return true;
    log_line(LOG_LEVEL_ERROR, "shard %u: no new store can be made: %s", loop->options.index, why);
    return false;
}

/* A store that can't be written can't be closed either. */
static void end_if_stuck(struct loop *loop)
{
    if (!store_is_stuck(loop->store)) return;
    log_line(
        LOG_LEVEL_ERROR,
        "shard %u: its store can't be written (%s): the node ends. What was acknowledged is on disk, and "
        "is there when the node starts again",
        loop->options.index, store_error(loop->store));
    _exit(LOOP_STUCK_STATUS);
}

static bool has_links(const struct loop *loop)
{
    return loop->lanes[LANE_DATA].links != NULL;
}

/* Are all lanes to the node up? To the shard they are one. */
static bool linked(struct loop *loop, uint64_t node)
{
    for (int lane = 0; lane < LANES; lane++)
        if (!links_is_up(loop->lanes[lane].links, node)) return false;
    return true;
}

/* A new shard has not heard of the links that are up. */
static void tell_links(struct loop *loop)
{
    const struct cluster *cluster = shard_turn_context(loop->shard)->cluster;
    for (uint32_t i = 0; i < cluster->member_count && has_links(loop); i++)
        if (linked(loop, cluster->members[i].id))
            shard_link_changed(loop->shard, cluster->members[i].id, true);
}

/* The store is lost, and the shard with it: what it had not sent is gone, as after a crash. The rest of the
 * node goes on. */
static void shard_restart(struct loop *loop)
{
    flusher_wait(loop->flusher);
    end_if_stuck(loop);
    struct node_options *node = &loop->options.node;
    char reason[512];
    snprintf(reason, sizeof(reason), "%s", store_error(loop->store));
    struct cluster cluster;
    cluster_copy(shard_turn_context(loop->shard)->cluster, &cluster);
    cluster_fini(&node->cluster);
    node->cluster = cluster;
    node->born = loop->options.store_options.identity.born = false;
    node->replaced = true;
    shard_free(loop->shard);
    loop->shard = NULL;
    store_close(loop->store);
    loop->store = NULL;
    uint64_t now = uv_hrtime() / 1000000;
    bool again = loop->lost_ms != 0 && now - loop->lost_ms < REOPEN_SETTLED_MS, moved = false;
    while (again || !store_replace(loop, reason, &moved)) {
        again = false;
        if (atomic_load(&loop->wanted) == PHASE_STOP) {
            loop->store = store_mem_open(); /* serves nobody: only so that the loop ends as it always does */
            CHECK(loop->store != NULL);
            break;
        }
        usleep(REOPEN_MS * 1000);
    }
    loop->lost_ms = now;
    loop->options.seed +=
        0x9e3779b97f4a7c15u; /* a random stream of its own: dots and ids of the lost one do not come back */
    shard_make(loop);
    if (loop->phase != PHASE_RUN) node_drain(loop->shard);
    loop->options.hooks.restarted(loop->options.hooks.context, loop);
    tell_links(loop);
}

/* --- out --- */

static void on_retry(uv_timer_t *timer)
{
    (void)timer; /* the work that follows ships */
}

/* Hand on what may leave. */
static void ship(struct loop *loop)
{
    struct outbox *outbox = shard_outbox(loop->shard);
    bool full = !neighbours_ship(loop->neighbours, outbox);
    for (uint32_t i = 0; i < outbox->queue_count && has_links(loop); i++) {
        const struct outbox_queue *queue = &outbox->queues[i];
        if (queue->node != outbox->self_node && queue->batch.size > 0)
            links_ship(loop->lanes[queue->lane].links, queue->node);
    }
    if (full && !uv_is_active((uv_handle_t *)&loop->retry))
        uv_timer_start(&loop->retry, on_retry, RETRY_MS, 0);
    if (outbox->answer_count > 0) {
        const struct loop_hooks *hooks = &loop->options.hooks;
        hooks->answers(hooks->context, loop, outbox->answers, outbox->answer_count,
                       buffer_bytes(&outbox->answer_bytes));
        outbox_clear_answers(outbox);
    }
}

void loop_pass_descriptor(struct loop *loop, uint32_t to, int fd, struct bytes facts)
{
    CHECK(facts.size <= LOOP_FACTS_BYTES_MAX);
    neighbours_pass_descriptor(loop->neighbours, to, fd, facts);
}

static bool take(struct loop *loop, uint64_t node, enum link_lane lane, size_t bytes_max,
                 struct buffer *batch)
{
    struct outbox *outbox = shard_outbox(loop->shard);
    for (uint32_t i = 0; i < outbox->queue_count; i++)
        if (outbox->queues[i].node == node && outbox->queues[i].lane == lane)
            return outbox_take(outbox, i, bytes_max, batch);
    return false;
}

static bool links_take(void *context, uint64_t node, size_t bytes_max, struct buffer *batch)
{
    const struct lane_links *from = context;
    return take(from->loop, node, from->lane, bytes_max, batch);
}

/* The shard is told of all lanes as one: they are up when the last of them is, and down, all, with the first.
 */
static void links_changed(void *context, uint64_t node, bool up)
{
    const struct lane_links *from = context;
    struct loop *loop = from->loop;
    if (up) {
        for (int lane = 0; lane < LANES; lane++)
            if (lane != (int)from->lane) links_hurry(loop->lanes[lane].links, node);
        if (linked(loop, node)) shard_link_changed(loop->shard, node, true);
        return;
    }
    for (int lane = 0; lane < LANES; lane++) {
        /* What was queued is silence: whoever waits for an answer is told that the peer has gone. */
        buffer_clear(&loop->scratch);
        while (take(loop, node, (enum link_lane)lane, SIZE_MAX, &loop->scratch)) buffer_clear(&loop->scratch);
    }
    for (int lane = 0; lane < LANES; lane++) /* each tells so in turn; what is down stays down */
        if (lane != (int)from->lane)
            links_reset(loop->lanes[lane].links, node, "the other link to it is lost");
    shard_link_changed(loop->shard, node, false);
}

/* --- in --- */

static void release_msg(void *msg)
{
    nng_msg_free(msg);
}

static void take_in(struct loop *loop, const struct parcel *parcel)
{
    switch (parcel->kind) {
    case PARCEL_SHARD_BATCH:
        shard_deliver(loop->shard, 0, parcel->payload, release_msg, parcel->msg);
        break;
    case PARCEL_LINK:
        for (int lane = 0; lane < LANES; lane++)
            links_hurry(loop->lanes[lane].links, parcel->link->hello.node);
        inbound_add(loop->inbound, parcel->link);
        nng_msg_free(parcel->msg);
        break;
    case PARCEL_DESCRIPTOR:
        loop->options.hooks.descriptor(loop->options.hooks.context, loop, parcel->fd, parcel->payload);
        nng_msg_free(parcel->msg);
        break;
    }
}

static void on_mail(uv_poll_t *poll, int status, int events)
{
    struct loop *loop = poll->data;
    struct parcel parcel;
    uint32_t sender = (uint32_t)(poll - loop->polls);
    (void)events;
    if (status != 0) return;
    for (int i = 0; i < PARCELS_MAX; i++) {
        if (shard_mail_bytes(loop->shard) > MAIL_BYTES_MAX)
            return; /* it runs turns; then this is called again */
        if (!mailbox_take(loop->mailbox, sender, &parcel)) return;
        take_in(loop, &parcel);
    }
}

static void link_frame(void *context, uint64_t node, bool beats, struct bytes payload)
{
    shard_deliver_lane(((struct loop *)context)->shard, node, beats ? LANE_BEATS : LANE_DATA, payload, NULL,
                       NULL);
}

/* A lane that was too full is received again when half of it is taken. */
static bool link_room(void *context, bool beats)
{
    struct loop *loop = context;
    enum link_lane lane = beats ? LANE_BEATS : LANE_DATA;
    size_t limit = loop->held[lane] ? MAIL_BYTES_MAX / 2 : MAIL_BYTES_MAX;
    loop->held[lane] = shard_lane_bytes(loop->shard, lane) > limit;
    return !loop->held[lane];
}

/* --- a round --- */

/* Everything up to @turn is durable, or the store is broken: then the shard starts anew. */
static void flush_done(struct loop *loop, uint64_t turn, enum status status)
{
    if (status != STATUS_OK) {
        shard_restart(loop);
        return;
    }
    shard_durable(loop->shard, turn);
    ship(loop);
}

/* Begin to make all turns so far durable, unless the last sync is still under way: then they share the next.
 */
static void flush_begin(struct loop *loop)
{
    uint64_t turn = shard_committed_turn(loop->shard);
    if (turn > shard_durable_turn(loop->shard) && !flusher_busy(loop->flusher))
        flusher_begin(loop->flusher, loop->store, turn);
}

/* On the flusher's thread. */
static void flush_ended(void *context)
{
    struct loop *loop = context;
    CHECK(uv_async_send(&loop->flushed) == 0);
}

static void on_flushed(uv_async_t *async)
{
    struct loop *loop = async->data;
    uint64_t turn;
    enum status status;
    if (flusher_take(loop->flusher, &turn, &status)) flush_done(loop, turn, status);
}

static bool has_work(const struct loop *loop, uint64_t now_ns)
{
    return shard_has_mail(loop->shard) || shard_next_timer_ns(loop->shard) <= now_ns;
}

static void on_timer(uv_timer_t *timer)
{
    ((struct loop *)timer->data)->timer_ns = UINT64_MAX; /* the work that follows runs what is due */
}

static void on_more(uv_idle_t *idle)
{
    (void)idle;
}

static void set_timer(struct loop *loop)
{
    uint64_t next = shard_next_timer_ns(loop->shard);
    if (next == loop->timer_ns) return;
    loop->timer_ns = next;
    if (next == UINT64_MAX) {
        uv_timer_stop(&loop->timer);
        return;
    }
    uv_update_time(&loop->uv);
    uint64_t now = uv_hrtime();
    uv_timer_start(&loop->timer, on_timer, next > now ? (next - now + 999999) / 1000000 : 0, 0);
}

static bool all_sent(struct loop *loop)
{
    return neighbours_all_sent(loop->neighbours) && node_in_flight(loop->shard) == 0 &&
           !shard_has_mail(loop->shard) &&
           shard_committed_turn(loop->shard) == shard_durable_turn(loop->shard) &&
           !loop->options.hooks.unsent(loop->options.hooks.context, loop);
}

/* A sync costs the same for one write as for a hundred: before it, look once more for what has come meanwhile
 * (the poll does not wait then), as long as that brings something, up to GATHERINGS_MAX times. */
static bool may_gather(struct loop *loop, bool ran)
{
    bool unsynced = shard_committed_turn(loop->shard) > shard_durable_turn(loop->shard);
    bool gather = unsynced && ran && !flusher_busy(loop->flusher) && loop->gatherings < GATHERINGS_MAX;
    loop->gatherings = gather ? loop->gatherings + 1 : 0;
    return gather;
}

/* Turns, and a flush of what they wrote. True: there is more to do, so the poll must not wait. */
static bool work(struct loop *loop)
{
    ship(loop);
    bool busy = true;
    for (int round = 0; round < ROUNDS_MAX && busy; round++) {
        bool ran = false;
        for (int turns = 0; turns < LOOP_TURNS_MAX; turns++) {
            uint64_t now = uv_hrtime();
            if (!has_work(loop, now)) break;
            if (shard_turn(loop->shard, now, loop_wall_ms()) != STATUS_OK) {
                shard_restart(loop);
                break;
            }
            ship(loop);
            ran = true;
        }
        if (may_gather(loop, ran)) return true;
        flush_begin(loop);
        busy = has_work(loop, uv_hrtime());
    }
    return busy;
}

/* Runs before each poll. */
static void on_work(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    bool more = work(loop);
    if (has_links(loop) && inbound_receive(loop->inbound)) more = true;
    if (more)
        uv_idle_start(&loop->more, on_more);
    else
        uv_idle_stop(&loop->more);
    set_timer(loop);
    if (loop->phase == PHASE_DRAIN) atomic_store(&loop->quiet, all_sent(loop));
}

/* --- members --- */

static bool is_late(uint64_t now_ns, uint64_t since_ns, uint64_t limit_ms)
{
    return now_ns > since_ns && now_ns - since_ns > limit_ms * UINT64_C(1000000);
}

/* Dial anew who answers no more: not who could not be heard because this thread stood still. */
static void reset_dead(struct loop *loop, const struct peer *peer, uint64_t now_ns)
{
    uint64_t since = peer->linked_ns > loop->awake_ns ? peer->linked_ns : loop->awake_ns;
    uint64_t beat = peer->phi.heard_ns > since ? peer->phi.heard_ns : since;
    uint64_t data = peer->data_beat_ns > since ? peer->data_beat_ns : since;
    if (peer->link && (is_late(now_ns, beat, DEAD_LINK_MS) || is_late(now_ns, data, DEAD_DATA_MS)))
        links_reset(loop->lanes[LANE_DATA].links, peer->node, "the peer is silent: dialled anew");
}

static void on_tick(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    if (!has_links(loop)) return;
    const struct turn *turn = shard_turn_context(loop->shard);
    const struct cluster *cluster = turn->cluster;
    uint64_t *nodes = malloc(cluster->member_count * sizeof(*nodes) + 1);
    CHECK(nodes != NULL);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct member *member = &cluster->members[i];
        nodes[i] = member->id;
        if (member->id == loop->options.node.self.id) continue;
        const struct member *configured = cluster_find_member(loop->options.configured, member->id);
        for (int lane = 0; lane < LANES; lane++)
            links_set_peer(loop->lanes[lane].links, member->id, member->name, member->peer_address,
                           configured == NULL ? NULL : configured->peer_address);
    }
    if (loop->options.index == CLUSTER_OWNER_SHARD)
        acceptor_set_members(loop->options.acceptor, nodes, cluster->member_count);
    free(nodes);
    uint64_t now = uv_hrtime();
    if (is_late(now, loop->ticked_ns, 2 * TICK_MS)) loop->awake_ns = now;
    loop->ticked_ns = now;
    for (uint32_t i = 0; i < turn->peers->count; i++) reset_dead(loop, &turn->peers->list[i], now);
}

/* --- start and stop --- */

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void stop_now(struct loop *loop)
{
    const struct loop_hooks *hooks = &loop->options.hooks;
    hooks->stop(hooks->context, loop);
    if (has_links(loop)) {
        for (int lane = 0; lane < LANES; lane++) links_stop(loop->lanes[lane].links);
        inbound_stop(loop->inbound);
    }
    flusher_stop(loop->flusher);
    uv_handle_t *own[] = {(uv_handle_t *)&loop->work,   (uv_handle_t *)&loop->more,
                          (uv_handle_t *)&loop->timer,  (uv_handle_t *)&loop->retry,
                          (uv_handle_t *)&loop->tick,   (uv_handle_t *)&loop->control,
                          (uv_handle_t *)&loop->flushed};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) close_handle(own[i], NULL);
    for (uint32_t i = 0; i <= loop->shards; i++) close_handle((uv_handle_t *)&loop->polls[i], NULL);
}

static void on_control(uv_async_t *async)
{
    struct loop *loop = async->data;
    enum phase wanted = (enum phase)atomic_load(&loop->wanted);
    const struct loop_hooks *hooks = &loop->options.hooks;
    if (loop->phase == PHASE_RUN && wanted != PHASE_RUN) {
        node_drain(loop->shard);
        hooks->drain(hooks->context, loop);
        loop->phase = PHASE_DRAIN;
    }
    if (loop->phase == PHASE_DRAIN && wanted == PHASE_STOP) {
        loop->phase = PHASE_STOP;
        stop_now(loop);
    }
}

static void pin(const struct loop *loop)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)loop->options.cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
        log_line(LOG_LEVEL_WARN, "shard %u: can't be pinned to core %d", loop->options.index,
                 loop->options.cpu);
}

static void *run(void *argument)
{
    struct loop *loop = argument;
    char name[16];
    snprintf(name, sizeof(name), "shard %u", loop->options.index);
    pthread_setname_np(pthread_self(), name);
    if (loop->options.cpu >= 0) pin(loop);
    loop->options.hooks.start(loop->options.hooks.context, loop);
    on_tick(&loop->tick);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) continue;
    if (store_sync(loop->store) != STATUS_OK) {
        log_line(LOG_LEVEL_ERROR, "shard %u: the last sync failed: %s", loop->options.index,
                 store_error(loop->store));
        end_if_stuck(loop);
    }
    shard_free(loop->shard);
    store_close(loop->store);
    if (has_links(loop)) {
        for (int lane = 0; lane < LANES; lane++) links_free(loop->lanes[lane].links);
        inbound_free(loop->inbound);
    }
    CHECK(uv_loop_close(&loop->uv) == 0);
    return NULL;
}

static void init_handles(struct loop *loop)
{
    uv_loop_t *uv = &loop->uv;
    CHECK(uv_loop_init(uv) == 0);
    CHECK(uv_prepare_init(uv, &loop->work) == 0);
    CHECK(uv_idle_init(uv, &loop->more) == 0);
    CHECK(uv_timer_init(uv, &loop->timer) == 0);
    CHECK(uv_timer_init(uv, &loop->retry) == 0);
    CHECK(uv_timer_init(uv, &loop->tick) == 0);
    CHECK(uv_async_init(uv, &loop->control, on_control) == 0);
    CHECK(uv_async_init(uv, &loop->flushed, on_flushed) == 0);
    loop->work.data = loop->timer.data = loop->tick.data = loop->control.data = loop->flushed.data = loop;
    uv_prepare_start(&loop->work, on_work);
    uv_timer_start(&loop->tick, on_tick, TICK_MS, TICK_MS);
    loop->polls = calloc(loop->shards + 1, sizeof(*loop->polls));
    CHECK(loop->polls != NULL);
    for (uint32_t i = 0; i <= loop->shards; i++) {
        loop->polls[i].data = loop;
        CHECK(uv_poll_init(uv, &loop->polls[i], mailbox_descriptor(loop->mailbox, i)) == 0);
        CHECK(uv_poll_start(&loop->polls[i], UV_READABLE, on_mail) == 0);
    }
}

static void start_links(struct loop *loop, enum link_lane lane)
{
    const struct node_options *node = &loop->options.node;
    struct links_options options = {
        .uv = &loop->uv,
        .self = hello_of(node->cluster.id, node->cluster.vnodes, node->self.id, node->self.incarnation),
        .seed = loop->options.seed ^ (1 + lane),
        .context = &loop->lanes[lane],
        .changed = links_changed,
        .take = links_take,
    };
    options.self.from_shard = loop->options.index;
    options.self.beats = lane == LANE_BEATS;
    loop->lanes[lane] = (struct lane_links){.loop = loop, .lane = lane};
    loop->lanes[lane].links = links_start(&options);
}

struct loop *loop_start(const struct loop_options *options)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    CHECK(loop != NULL);
    loop->options = *options;
    cluster_copy(&options->node.cluster, &loop->options.node.cluster);
    loop->store = options->store;
    loop->shards = options->node.self.shards;
    loop->mailbox = options->mailboxes[options->index];
    loop->timer_ns = UINT64_MAX;
    loop->neighbours = neighbours_alloc(options->mailboxes, loop->shards, options->index);
    init_handles(loop);
    if (options->acceptor != NULL) {
        for (int lane = 0; lane < LANES; lane++) start_links(loop, (enum link_lane)lane);
        loop->inbound = inbound_start(&(struct inbound_options){
            .uv = &loop->uv,
            .acceptor = options->acceptor,
            .context = loop,
            .silence_ms = INBOUND_SILENCE_MS,
            .frame_ms = INBOUND_FRAME_MS,
            .frame = link_frame,
            .room = link_room,
        });
    }
    shard_make(loop);
    loop->flusher = flusher_start(flush_ended, loop);
    CHECK(pthread_create(&loop->thread, NULL, run, loop) == 0);
    return loop;
}

static void want(struct loop *loop, enum phase phase)
{
    atomic_store(&loop->wanted, phase);
    CHECK(uv_async_send(&loop->control) == 0);
}

void loop_drain(struct loop *loop)
{
    want(loop, PHASE_DRAIN);
}

bool loop_is_quiet(const struct loop *loop)
{
    return atomic_load(&loop->quiet);
}

void loop_stop(struct loop *loop)
{
    want(loop, PHASE_STOP);
}

void loop_join(struct loop *loop)
{
    CHECK(pthread_join(loop->thread, NULL) == 0);
}

void loop_free(struct loop *loop)
{
    neighbours_free(loop->neighbours);
    free(loop->polls);
    cluster_fini(&loop->options.node.cluster);
    buffer_fini(&loop->scratch);
    free(loop);
}
