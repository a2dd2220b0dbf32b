#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "cli/bench.h"

enum {
    EVENTS_MAX =
        8, /* and then what came free is sent: a server that is handed work early does not wait for us */
    READ_BYTES = 64 * 1024,
    QUEUE_MAX = 4096, /* closed loop: drawn and waiting, per group */
    BACKLOG_MAX =
        1 << 20, /* open loop: due and waiting, per group; beyond it the schedule waits, and is kept */
    OWN_KEY_TRIES_MAX = 100000, /* a table of few records may have none */
};
static const uint64_t stall_ns = 15ULL * 1000 * 1000 * 1000;

/* What to do with one record. */
struct entry {
    uint64_t record;
    uint64_t began_ns;     /* closed loop: when it was sent; open loop: when it was due */
    uint64_t rmw_began_ns; /* of the read before this write */
    uint8_t *context;      /* heap; of the read before this write */
    uint32_t context_bytes;
    enum { READ, PUT, RMW_READ, RMW_WRITE } kind;
};

struct queue { /* a ring that grows to what its owner allows */
    struct entry *entries;
    uint32_t capacity, first, count;
};

struct connection {
    int fd; /* -1: broken */
    struct group *group;
    struct buffer in, out;
    size_t out_written;
    bool dirty, waits_for_room, listed;
    uint32_t free_count;
    uint32_t *free_slots; /* a stack; RESP answers in order: there a ring of the slots in use, oldest at
                             fifo_first */
    uint32_t *fifo;
    uint32_t fifo_first, fifo_count;
    struct slot *slots;
    struct entry *entries; /* operations_per_request for each slot */
};

struct slot {
    uint32_t count, answered;
};

struct group {
    struct queue queue, second; /* second: writes whose read has come back; they go first */
    struct connection **free;   /* with a free slot, the longest unused first */
    uint32_t free_first, free_count, free_capacity;
    uint32_t alive;
};

struct state {
    struct bench_worker *worker;
    int epoll;
    struct connection *connections;
    uint32_t connection_count;
    struct group *groups;
    uint32_t group_count;
    struct connection **dirty;
    uint32_t dirty_count;
    uint32_t alive;
    struct bench_keys keys;
    uint64_t sequence;
    uint64_t drawn;     /* in this phase */
    uint64_t in_flight; /* operations sent, and those that wait in queues */
    uint64_t queued;
    uint64_t now_ns, ends_ns, next_due_ns, last_answer_ns;
    double due_step_ns, due_ns;
    struct connection *reading; /* whose answers are being taken */
    bool generating;
};

uint64_t bench_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void queue_push(struct queue *queue, struct entry entry)
{
    if (queue->count == queue->capacity) {
        uint32_t capacity = queue->capacity == 0 ? 64 : queue->capacity * 2;
        struct entry *entries = malloc(capacity * sizeof(*entries));
        CHECK(entries != NULL);
        for (uint32_t i = 0; i < queue->count; i++)
            entries[i] = queue->entries[(queue->first + i) & (queue->capacity - 1)];
        free(queue->entries);
        queue->entries = entries;
        queue->capacity = capacity;
        queue->first = 0;
    }
    queue->entries[(queue->first + queue->count++) & (queue->capacity - 1)] = entry;
}

static struct entry queue_pop(struct queue *queue)
{
    CHECK(queue->count > 0);
    struct entry entry = queue->entries[queue->first];
    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
    return entry;
}

/* Slots. */

static void list_free(struct connection *connection)
{
    struct group *group = connection->group;
    if (connection->listed || connection->fd < 0) return;
    connection->listed = true;
    group->free[(group->free_first + group->free_count++) % group->free_capacity] = connection;
}

static struct connection *next_free(struct group *group)
{
    while (group->free_count > 0) {
        struct connection *connection = group->free[group->free_first];
        group->free_first = (group->free_first + 1) % group->free_capacity;
        group->free_count--;
        connection->listed = false;
        if (connection->fd >= 0) return connection;
    }
    return NULL;
}

static bool has_free(struct group *group)
{
    while (group->free_count > 0 && group->free[group->free_first]->fd < 0) next_free(group);
    return group->free_count > 0;
}

static void slots_reset(const struct bench_options *options, struct connection *connection)
{
    connection->free_count = options->in_flight;
    for (uint32_t i = 0; i < options->in_flight; i++) connection->free_slots[i] = options->in_flight - 1 - i;
    connection->fifo_first = connection->fifo_count = 0;
    memset(connection->slots, 0, options->in_flight * sizeof(struct slot));
}

static void slot_free(struct connection *connection, uint32_t slot)
{
    connection->slots[slot].count = 0;
    connection->free_slots[connection->free_count++] = slot;
    list_free(connection);
}

bool bench_worker_connect(struct bench_worker *worker, void **out)
{
    const struct bench_options *options = worker->options;
    const struct bench_ring *ring = worker->ring;
    struct state *state = calloc(1, sizeof(*state));
    CHECK(state != NULL);
    state->worker = worker;
    state->epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(state->epoll >= 0);
    state->connection_count = worker->connection_count;
    /* With fewer connections than groups, groups share. */
    state->group_count =
        ring->target_count < worker->connection_count ? ring->target_count : worker->connection_count;
    state->groups = calloc(state->group_count, sizeof(*state->groups));
    state->connections = calloc(state->connection_count, sizeof(*state->connections));
    state->dirty = calloc(state->connection_count, sizeof(struct connection *));
    CHECK(state->groups != NULL && state->connections != NULL && state->dirty != NULL);
    for (uint32_t i = 0; i < state->group_count; i++) {
        state->groups[i].free_capacity = state->connection_count;
        state->groups[i].free = calloc(state->connection_count, sizeof(struct connection *));
        CHECK(state->groups[i].free != NULL);
    }
    for (uint32_t i = 0; i < state->connection_count; i++) state->connections[i].fd = -1;
    *out = state;
    for (uint32_t i = 0; i < state->connection_count; i++) {
        struct connection *connection = &state->connections[i];
        uint32_t target = (i + worker->index) % ring->target_count;
        connection->group = &state->groups[target % state->group_count];
        connection->free_slots = calloc(options->in_flight, sizeof(uint32_t));
        connection->fifo = calloc(options->in_flight, sizeof(uint32_t));
        connection->slots = calloc(options->in_flight, sizeof(struct slot));
        connection->entries =
            calloc((size_t)options->in_flight * options->operations_per_request, sizeof(struct entry));
        CHECK(connection->free_slots != NULL && connection->fifo != NULL && connection->slots != NULL &&
              connection->entries != NULL);
        slots_reset(options, connection);
        const struct bench_target *where = &ring->targets[target];
        const char *why =
            bench_dial(where->address, where->shard, options->protocol == BENCH_DYNODE, &connection->fd);
        if (why != NULL) {
            connection->fd = -1;
            snprintf(worker->why, sizeof(worker->why), "%.100s: %.100s", where->address, why);
            return false;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        CHECK(epoll_ctl(state->epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0);
        connection->group->alive++;
        state->alive++;
        list_free(connection);
    }
    return true;
}

void bench_worker_close(void *data)
{
    struct state *state = data;
    if (state == NULL) return;
    for (uint32_t i = 0; i < state->connection_count; i++) {
        struct connection *connection = &state->connections[i];
        if (connection->fd >= 0) close(connection->fd);
        buffer_fini(&connection->in);
        buffer_fini(&connection->out);
        free(connection->free_slots);
        free(connection->fifo);
        free(connection->slots);
        free(connection->entries);
    }
    for (uint32_t i = 0; i < state->group_count; i++) {
        free(state->groups[i].queue.entries);
        free(state->groups[i].second.entries);
        free(state->groups[i].free);
    }
    close(state->epoll);
    free(state->groups);
    free(state->connections);
    free(state->dirty);
    free(state);
}

/* Answers. */

static void count(struct bench_worker *worker, enum bench_kind kind, uint64_t latency)
{
    histogram_record(&worker->result.latency[kind], latency);
}

static void count_done(struct bench_worker *worker, uint64_t latency)
{
    atomic_store_explicit(&worker->done, worker->done + 1, memory_order_relaxed);
    atomic_store_explicit(&worker->latency_sum, worker->latency_sum + latency, memory_order_relaxed);
}

static void entry_failed(struct state *state, struct entry *entry, int status)
{
    struct bench_worker *worker = state->worker;
    worker->result.statuses[status]++;
    atomic_store_explicit(&worker->failed, worker->failed + 1, memory_order_relaxed);
    free(entry->context);
    entry->context = NULL;
    state->in_flight--;
}

static void entry_answered(struct state *state, struct connection *connection, struct entry *entry,
                           const struct bench_answer *answer)
{
    struct bench_worker *worker = state->worker;
    bool reads = entry->kind == READ || entry->kind == RMW_READ;
    state->last_answer_ns = state->now_ns;
    if (answer->status != DYNODE_OK && !(reads && answer->status == DYNODE_NOT_FOUND)) {
        entry_failed(state, entry, answer->status);
        return;
    }
    worker->result.statuses[answer->status]++;
    uint64_t latency = state->now_ns > entry->began_ns ? state->now_ns - entry->began_ns : 0;
    count(worker, reads ? BENCH_READ : BENCH_PUT, latency);
    if (reads && answer->status == DYNODE_OK) {
        worker->result.siblings += answer->siblings > 1;
        if (worker->options->check &&
            !bench_value_good(answer->value.data, answer->value.size, entry->record))
            worker->result.wrong++;
    }
    if (entry->kind == RMW_READ) {
        struct entry write = {.record = entry->record, .rmw_began_ns = entry->began_ns, .kind = RMW_WRITE};
        write.began_ns = state->now_ns;
        if (worker->mix->siblings && answer->context.size > 0) {
            write.context = malloc(answer->context.size);
            CHECK(write.context != NULL);
            memcpy(write.context, answer->context.data, answer->context.size);
            write.context_bytes = (uint32_t)answer->context.size;
        }
        queue_push(&connection->group->second, write);
        state->queued++;
        return; /* it is still in flight */
    }
    if (entry->kind == RMW_WRITE) {
        latency = state->now_ns > entry->rmw_began_ns ? state->now_ns - entry->rmw_began_ns : 0;
        count(worker, BENCH_RMW, latency);
    }
    free(entry->context);
    entry->context = NULL;
    state->in_flight--;
    count_done(worker, latency);
}

static void on_answer(void *data, const struct bench_answer *answer)
{
    struct state *state = data;
    struct connection *connection = state->reading;
    const struct bench_options *options = state->worker->options;
    uint32_t slot, operation = answer->operation;
    if (options->protocol == BENCH_RESP) {
        if (connection->fifo_count == 0) return;
        slot = connection->fifo[connection->fifo_first];
        operation = connection->slots[slot].answered;
    } else {
        if (answer->id == 0 || answer->id > options->in_flight) return;
        slot = (uint32_t)(answer->id - 1);
    }
    struct slot *s = &connection->slots[slot];
    if (operation >= s->count || s->answered >= s->count) return;
    entry_answered(state, connection,
                   &connection->entries[slot * options->operations_per_request + operation], answer);
    if (++s->answered < s->count || options->protocol == BENCH_DYNODE) return;
    connection->fifo_first = (connection->fifo_first + 1) % options->in_flight;
    connection->fifo_count--;
    slot_free(connection, slot);
}

static void on_last(void *data, uint64_t id)
{
    struct state *state = data;
    if (id == 0 || id > state->worker->options->in_flight) return;
    uint32_t slot = (uint32_t)(id - 1);
    struct slot *s = &state->reading->slots[slot];
    if (s->count == 0) return;
    /* Which ones had no result is not kept; that any had none is a defect of the server, and is counted as
     * that. */
    for (; s->answered < s->count; s->answered++) {
        struct entry none = {0};
        entry_failed(state, &none, DYNODE_INTERNAL);
    }
    slot_free(state->reading, slot);
}

/* The home's connections may all be broken: then any node takes its keys. */
static struct group *alive_group(struct state *state, uint32_t first)
{
    for (uint32_t i = 0; i < state->group_count; i++) {
        struct group *group = &state->groups[(first + i) % state->group_count];
        if (group->alive > 0) return group;
    }
    return &state->groups[first];
}

static void connection_lost(struct state *state, struct connection *connection)
{
    if (connection->fd < 0) return;
    close(connection->fd);
    connection->fd = -1;
    connection->group->alive--;
    state->alive--;
    const struct bench_options *options = state->worker->options;
    for (uint32_t i = 0; i < options->in_flight; i++) {
        struct slot *slot = &connection->slots[i];
        for (; slot->answered < slot->count; slot->answered++) {
            struct entry none = {0};
            entry_failed(state, &none, BENCH_LOST);
        }
        slot->count = 0;
    }
    struct group *lost = connection->group, *other = alive_group(state, (uint32_t)(lost - state->groups));
    if (lost->alive > 0 || other == lost) return;
    while (lost->queue.count > 0) queue_push(&other->queue, queue_pop(&lost->queue));
    while (lost->second.count > 0) queue_push(&other->second, queue_pop(&lost->second));
}

static void connection_read(struct state *state, struct connection *connection)
{
    uint8_t *to = buffer_reserve(&connection->in, READ_BYTES);
    ssize_t n = recv(connection->fd, to, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        connection_lost(state, connection);
        return;
    }
    connection->in.size += (size_t)n;
    state->now_ns = bench_now_ns();
    state->reading = connection;
    long taken = bench_take_answers(&state->worker->ring->wire, buffer_bytes(&connection->in), on_answer,
                                    on_last, state);
    if (taken < 0)
        connection_lost(state, connection);
    else
        buffer_consume(&connection->in, (size_t)taken);
}

static void connection_write(struct state *state, struct connection *connection)
{
    connection->dirty = false;
    if (connection->fd < 0) return;
    size_t left = connection->out.size - connection->out_written;
    ssize_t n = send(connection->fd, connection->out.data + connection->out_written, left, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        connection_lost(state, connection);
        return;
    }
    if (n > 0) connection->out_written += (size_t)n;
    bool whole = connection->out_written == connection->out.size;
    if (whole) {
        connection->out_written = 0;
        buffer_clear(&connection->out);
    }
    if (whole != connection->waits_for_room) return;
    connection->waits_for_room = !whole;
    struct epoll_event event = {.events = EPOLLIN | (whole ? 0 : (uint32_t)EPOLLOUT), .data.ptr = connection};
    CHECK(epoll_ctl(state->epoll, EPOLL_CTL_MOD, connection->fd, &event) == 0);
}

/* Requests. */

static void send_request(struct state *state, struct group *group)
{
    struct bench_worker *worker = state->worker;
    const struct bench_options *options = worker->options;
    const struct bench_wire *wire = &worker->ring->wire;
    struct connection *connection = next_free(group);
    uint32_t slot = connection->free_slots[--connection->free_count];
    if (options->protocol == BENCH_RESP)
        connection->fifo[(connection->fifo_first + connection->fifo_count++) % options->in_flight] = slot;
    struct entry *entries = &connection->entries[slot * options->operations_per_request];
    size_t begin = bench_request_begin(wire, &connection->out, slot + 1);
    uint32_t count_ = 0;
    while (count_ < options->operations_per_request && group->second.count + group->queue.count > 0) {
        struct entry entry = queue_pop(group->second.count > 0 ? &group->second : &group->queue);
        state->queued--;
        if (options->rate == 0 || entry.kind == RMW_WRITE) entry.began_ns = state->now_ns;
        if (entry.kind == READ || entry.kind == RMW_READ) {
            bench_add_get(wire, &connection->out, options->key_bytes, entry.record);
        } else {
            uint8_t *value =
                bench_add_put(wire, &connection->out, options->key_bytes, entry.record, options->value_bytes,
                              bytes_of(entry.context, entry.context_bytes));
            bench_value_write(value, options->value_bytes, entry.record, ++state->sequence,
                              &state->keys.prng);
            free(entry.context);
            entry.context = NULL;
        }
        entries[count_++] = entry;
    }
    bench_request_end(wire, &connection->out, begin);
    connection->slots[slot] = (struct slot){.count = count_};
    if (connection->free_count > 0) list_free(connection);
    if (!connection->dirty) {
        connection->dirty = true;
        state->dirty[state->dirty_count++] = connection;
    }
}

/* The target that is a record's home. */
static uint32_t target_of(const struct state *state, uint64_t record)
{
    const struct bench_ring *ring = state->worker->ring;
    uint8_t key[1024];
    bench_key_write(key, state->worker->options->key_bytes, record);
    uint64_t hash = hash64(bytes_of(key, state->worker->options->key_bytes), ring->tag);
    return ring->group_of_vnode[((unsigned __int128)hash * ring->vnodes) >> 64];
}

static struct group *group_of(struct state *state, uint64_t record)
{
    if (state->group_count == 1) return &state->groups[0];
    return alive_group(state, target_of(state, record) % state->group_count);
}

/* A record for a read or write. With --own-keys one whose home a connection of this worker leads to. */
static uint64_t draw_record(struct state *state)
{
    const struct bench_worker *worker = state->worker;
    uint64_t record = bench_keys_next(&state->keys);
    uint32_t targets = worker->ring->target_count;
    if (!worker->options->own_keys || state->connection_count >= targets) return record;
    for (int tries = 0; tries < OWN_KEY_TRIES_MAX; tries++) {
        uint32_t distance = (target_of(state, record) + targets - worker->index % targets) % targets;
        if (distance < state->connection_count) break;
        record = bench_keys_next(&state->keys);
    }
    return record;
}

static struct group *draw(struct state *state, uint64_t began_ns)
{
    struct bench_worker *worker = state->worker;
    const struct bench_mix *mix = worker->mix;
    struct entry entry = {.began_ns = began_ns, .kind = PUT};
    if (mix->load) {
        entry.record = worker->first + state->drawn;
    } else {
        entry.record = draw_record(state);
        uint64_t percent = prng_below(&state->keys.prng, 100);
        entry.kind = percent < mix->puts ? PUT : percent < mix->puts + mix->rmws ? RMW_READ : READ;
    }
    state->drawn++;
    state->in_flight++;
    state->queued++;
    struct group *group = group_of(state, entry.record);
    queue_push(&group->queue, entry);
    return group;
}

static bool may_draw(struct state *state)
{
    if (!state->generating) return false;
    if ((state->worker->count != 0 && state->drawn >= state->worker->count) ||
        state->now_ns >= state->ends_ns)
        state->generating = false;
    return state->generating;
}

static bool ready(struct group *group, uint32_t wanted)
{
    return group->second.count + group->queue.count >= wanted && has_free(group);
}

static void forget_waiting(struct state *state)
{
    for (uint32_t i = 0; i < state->group_count; i++) {
        struct queue *queue = &state->groups[i].queue;
        state->in_flight -= queue->count;
        state->queued -= queue->count;
        queue->count = 0;
    }
}

/* Draw what is due, or what there is room for, and pack it. */
static void fill(struct state *state)
{
    const struct bench_options *options = state->worker->options;
    uint32_t wanted = options->operations_per_request;
    if (options->rate > 0) {
        while (may_draw(state) && state->next_due_ns <= state->now_ns && state->queued < BACKLOG_MAX) {
            draw(state, state->next_due_ns);
            state->due_ns += state->due_step_ns;
            state->next_due_ns = (uint64_t)state->due_ns;
        }
        wanted = 1;
    }
    uint32_t rooms = 0;
    for (uint32_t i = 0; i < state->group_count; i++) {
        struct group *group = &state->groups[i];
        while (ready(group, wanted) || (group->second.count > 0 && has_free(group)))
            send_request(state, group);
        rooms += has_free(group);
    }
    while (options->rate == 0 && rooms > 0 && may_draw(state)) {
        struct group *group = draw(state, 0);
        if (ready(group, wanted)) {
            send_request(state, group);
            if (!has_free(group)) rooms--;
        } else if (group->queue.count >= QUEUE_MAX) {
            break; /* that group is the bottleneck: the others wait for it, as clients would */
        }
    }
    if (state->generating) return;
    /* The end. In a closed loop nobody has asked yet for what only waits for a slow group. */
    if (options->rate == 0 && state->now_ns >= state->ends_ns) forget_waiting(state);
    /* Requests of fewer operations than asked for. */
    for (uint32_t i = 0; i < state->group_count; i++) {
        while (ready(&state->groups[i], 1)) send_request(state, &state->groups[i]);
    }
}

static void wait_events(struct state *state)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec timeout = {.tv_nsec = 100000000};
    if (state->generating && state->worker->options->rate > 0) {
        uint64_t now = bench_now_ns();
        uint64_t left = state->next_due_ns > now ? state->next_due_ns - now : 0;
        if (left < 100000000) timeout.tv_nsec = (long)left;
    }
    int count_ = epoll_pwait2(state->epoll, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count_; i++) {
        struct connection *connection = events[i].data.ptr;
        if (connection->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            connection_read(state, connection);
        if (connection->fd >= 0 && (events[i].events & EPOLLOUT) != 0) connection_write(state, connection);
    }
    state->now_ns = bench_now_ns();
}

/* What can no longer be answered, or asked. */
static void abandon(struct state *state)
{
    for (uint32_t i = 0; i < state->connection_count; i++) connection_lost(state, &state->connections[i]);
    for (uint32_t i = 0; i < state->group_count; i++) {
        struct queue *queues[] = {&state->groups[i].queue, &state->groups[i].second};
        for (int k = 0; k < 2; k++) {
            while (queues[k]->count > 0) {
                struct entry entry = queue_pop(queues[k]);
                free(entry.context); /* it was never sent: neither an operation nor an error */
            }
        }
    }
    state->worker->result.stalled = true;
}

static double own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void bench_worker_run(struct bench_worker *worker, void *data)
{
    struct state *state = data;
    const struct bench_options *options = worker->options;
    bool zipfian =
        options->distribution == BENCH_BY_MIX ? worker->mix->zipfian : options->distribution == BENCH_ZIPFIAN;
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* the schedule of an open loop is to the microsecond */
    bench_keys_init(&state->keys, options->records, zipfian, worker->zeta,
                    options->seed + worker->index * 7919ULL);
    double cpu_us = own_cpu_us();
    state->now_ns = state->last_answer_ns = bench_now_ns();
    worker->result.began_ns = state->now_ns;
    state->ends_ns =
        worker->mix->load || worker->count != 0 ? UINT64_MAX : state->now_ns + options->duration_ms * 1000000;
    state->due_step_ns = options->rate > 0 ? 1e9 * (double)options->threads / options->rate : 0;
    state->due_ns = (double)state->now_ns;
    state->next_due_ns = state->now_ns;
    state->generating = true;
    while (state->generating || state->in_flight > 0) {
        fill(state);
        for (uint32_t i = 0; i < state->dirty_count; i++) connection_write(state, state->dirty[i]);
        state->dirty_count = 0;
        if (!state->generating && state->in_flight == 0) break;
        wait_events(state);
        if (state->in_flight == 0) state->last_answer_ns = state->now_ns;
        if (state->alive == 0 || state->now_ns > state->last_answer_ns + stall_ns) {
            abandon(state);
            break;
        }
    }
    worker->result.ended_ns = bench_now_ns();
    worker->result.generator_cpu_us = own_cpu_us() - cpu_us;
}
