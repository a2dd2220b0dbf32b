#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/backoff.h"
#include "base/check.h"
#include "client/internal.h"

enum {
    ROUTE_AGAIN_MS = 20,          /* while the ring is being learnt */
    DOUBT_MS_MIN = 500,           /* no node is left alone for having been silent for less */
    REFRESH_MS_MIN = 1000,        /* between two questions for the ring: half of that, or up to all */
    REFRESH_FAILED_MS_MAX = 4000, /* and while nobody answers them */
    REFRESH_MS_MAX = 30000, /* a table dropped and made again moves its keys, and no ring version tells */
    SCRATCH_BYTES_MAX = 64 * 1024 * 1024,
};

int64_t client_clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint32_t or_default(uint32_t given, uint32_t otherwise)
{
    return given == 0 ? otherwise : given;
}

/* Opening and closing. */

static bool add_seeds(struct dynode_client *client, const char *addresses, char *why, size_t why_size)
{
    for (const char *at = addresses;;) {
        size_t size = strcspn(at, ",");
        struct address address;
        const char *reason = NULL;
        if (!address_parse(at, size, &address, &reason)) {
            snprintf(why, why_size, "address \"%.*s\": %s", (int)(size > 200 ? 200 : size), at, reason);
            return false;
        }
        struct endpoint *endpoint = endpoint_add(client, &address);
        if (endpoint == NULL) {
            snprintf(why, why_size, "more than %d addresses", CLIENT_ENDPOINTS_MAX);
            return false;
        }
        endpoint->seed = true;
        if (at[size] == '\0') return true;
        at += size + 1;
    }
}

enum dynode_status dynode_open(const char *addresses, const struct dynode_options *options,
                               struct dynode_client **out, char *why, size_t why_size)
{
    struct dynode_client *client = calloc(1, sizeof(*client));
    CHECK(client != NULL);
    if (options != NULL) client->options = *options;
    struct dynode_options *o = &client->options;
    snprintf(client->name, sizeof(client->name), "%s", o->name != NULL ? o->name : "libdynode");
    o->connect_timeout_ms = or_default(o->connect_timeout_ms, 2000);
    o->deadline_ms = or_default(o->deadline_ms, 5000);
    o->grace_ms = or_default(o->grace_ms, 500);
    o->in_flight_max = or_default(o->in_flight_max, 65536);
    o->in_flight_bytes_max = or_default(o->in_flight_bytes_max, 256u << 20);
    prng_init(&client->prng, prng_entropy());
    do {
        client->token_client = prng_entropy();
    } while (client->token_client == 0);
    client->now_ms = client_clock_ms();
    client->next_give_up_ms = INT64_MAX;
    TAILQ_INIT(&client->channels);
    TAILQ_INIT(&client->waiting);
    TAILQ_INIT(&client->calls);
    TAILQ_INIT(&client->finished);
    arena_init(&client->scratch, SCRATCH_BYTES_MAX);
    if (!add_seeds(client, addresses, why, why_size)) {
        dynode_close(client);
        return DYNODE_INVALID;
    }
    *out = client;
    return DYNODE_OK;
}

static void call_free(struct call *call)
{
    for (size_t i = 0; i < call->count; i++) operation_release(&call->operations[i]);
    free(call);
}

static void calls_free(struct calls *calls)
{
    struct call *call;
    while ((call = TAILQ_FIRST(calls)) != NULL) {
        TAILQ_REMOVE(calls, call, link);
        reply_free(call->reply);
        call_free(call);
    }
}

void dynode_close(struct dynode_client *client)
{
    if (client == NULL) return;
    struct channel *channel;
    while ((channel = TAILQ_FIRST(&client->channels)) != NULL) {
        TAILQ_REMOVE(&client->channels, channel, link);
        channel_free(channel);
    }
    calls_free(&client->calls);
    calls_free(&client->finished);
    endpoints_free(client);
    reply_free(client->topology);
    arena_fini(&client->scratch);
    free(client);
}

/* The ring. */

static void refreshed(void *data, struct dynode_reply *public)
{
    struct dynode_client *client = data;
    struct reply *reply = (struct reply *)((char *)public - offsetof(struct reply, public));
    const struct dynode_cluster *found = public->status == DYNODE_OK ? public->results[0].cluster : NULL;
    client->refreshing = false;
    bool refused = public->status == DYNODE_WRONG_VERSION;
    snprintf(client->refused, sizeof(client->refused), "%s", refused ? public->results[0].message : "");
    if (refused) client->refused_ms = client->now_ms;
    if (found == NULL) {
        reply_free(reply);
        client->refresh_wanted |= !client->options.any_node;
        client->refresh_not_before_ms =
            client->now_ms + (int64_t)backoff_draw(&client->prng, REFRESH_MS_MIN, REFRESH_FAILED_MS_MAX,
                                                   refused ? 0 : client->refresh_failures++);
        return;
    }
    bool same = client->cluster != NULL && client->cluster->ring_version == found->ring_version;
    client->doubts = same && client->doubted ? client->doubts + 1 : 0;
    client->doubted = false;
    client->refresh_failures = 0;
    client->doubt_after_ms =
        client->now_ms + (int64_t)backoff_draw(&client->prng, REFRESH_MS_MIN, REFRESH_MS_MAX, client->doubts);
    client->refresh_at_ms =
        client->now_ms + (int64_t)backoff_draw(&client->prng, REFRESH_MS_MAX, REFRESH_MS_MAX, 0);
    topology_adopt(client, reply);
}

static enum dynode_status submit(struct dynode_client *client, const struct dynode_operation *operations,
                                 size_t count, uint32_t deadline_ms, dynode_callback callback, void *data,
                                 bool internal);

static void refresh(struct dynode_client *client)
{
    if (client->refreshing || client->now_ms < client->refresh_not_before_ms) return;
    client->refresh_wanted = false;
    client->refreshing = true;
    client->refresh_not_before_ms =
        client->now_ms + (int64_t)backoff_draw(&client->prng, REFRESH_MS_MIN, REFRESH_MS_MIN, 0);
    struct dynode_operation operation = {.kind = DYNODE_CLUSTER_INFO};
    submit(client, &operation, 1, 0, refreshed, client, true);
}

void client_saw_ring(struct dynode_client *client, uint64_t ring_version)
{
    if (client->options.any_node || ring_version == 0) return;
    if (client->cluster == NULL || client->cluster->ring_version != ring_version)
        client->refresh_wanted = true;
}

void client_unanswered(struct dynode_client *client, int64_t since_ms)
{
    bool learnt = client->cluster != NULL || (client->cluster_id != 0 && !client->cluster_confirmed);
    if (learnt && client->heard_ms < since_ms) topology_forget(client);
}

/* Submitting. */

/* When it is to be looked at next. */
static int64_t call_due_ms(const struct call *call, int64_t now_ms)
{
    if (call->doubt_ms < call->deadline_ms) return call->doubt_ms;
    return now_ms < call->deadline_ms ? call->deadline_ms : call->give_up_ms;
}

static enum dynode_status submit(struct dynode_client *client, const struct dynode_operation *operations,
                                 size_t count, uint32_t deadline_ms, dynode_callback callback, void *data,
                                 bool internal)
{
    if (count == 0 || count > UINT32_MAX) return DYNODE_INVALID;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += operations[i].key.size + operations[i].value.size + operations[i].context.size;
    const struct dynode_options *options = &client->options;
    if (!internal && client->in_flight > 0 && /* alone, a batch may be of any size */
        (client->in_flight + count > options->in_flight_max ||
         client->in_flight_bytes + bytes > options->in_flight_bytes_max))
        return DYNODE_OVERLOADED;
    client->now_ms = client_clock_ms();
    struct call *call = calloc(1, sizeof(*call) + count * sizeof(call->operations[0]));
    CHECK(call != NULL);
    if (deadline_ms == 0) deadline_ms = options->deadline_ms;
    if (deadline_ms > CLIENT_DEADLINE_MS_MAX) deadline_ms = CLIENT_DEADLINE_MS_MAX;
    call->client = client;
    call->reply = reply_new(count);
    call->callback = callback;
    call->data = data;
    call->internal = internal;
    call->deadline_after_ms = deadline_ms;
    call->began_ms = client->now_ms;
    call->deadline_ms = client->now_ms + deadline_ms;
    call->give_up_ms = call->deadline_ms + options->grace_ms;
    call->doubt_ms = deadline_ms / 2 < DOUBT_MS_MIN ? INT64_MAX : client->now_ms + deadline_ms / 2;
    call->count = call->open = count;
    int64_t due = call_due_ms(call, client->now_ms);
    if (due < client->next_give_up_ms) client->next_give_up_ms = due;
    TAILQ_INSERT_TAIL(&client->calls, call, link);
    if (!internal) {
        call->bytes = bytes;
        client->in_flight += count;
        client->in_flight_bytes += bytes;
    }
    for (size_t i = 0; i < count; i++) {
        struct operation *operation = &call->operations[i];
        operation->call = call;
        operation->index = (uint32_t)i;
        uint64_t sequence = operations[i].sequence != 0 ? operations[i].sequence : ++client->next_sequence;
        const char *why;
        enum dynode_status status =
            operation_pack(&operations[i], client->token_client, sequence, operation, &why);
        if (operation->write) call->reply->public.results[i].sequence = sequence;
        if (status == DYNODE_OK)
            operation_wait(client, operation, 0);
        else
            operation_fail(client, operation, status, why);
    }
    return DYNODE_OK;
}

enum dynode_status dynode_submit(struct dynode_client *client, const struct dynode_operation *operations,
                                 size_t count, uint32_t deadline_ms, dynode_callback callback, void *data)
{
    return submit(client, operations, count, deadline_ms, callback, data, false);
}

size_t dynode_in_flight(const struct dynode_client *client)
{
    return client->in_flight;
}

/* The loop. */

/* What needs the ring, and has heard since it began that this one is of no use, ends; what began later waits
 * until it is described again: a damaged frame may have said so, or there are newer nodes among older ones.
 * True: that was it. */
static bool refuse(struct dynode_client *client, struct operation *operation)
{
    bool by_ring = operation->node != 0 || (operation->routed && !client->options.any_node);
    if (client->refused[0] == '\0' || !by_ring || operation->call->internal || operation->attempts > 0)
        return false;
    if (operation->call->began_ms < client->refused_ms) {
        operation_fail(client, operation, DYNODE_WRONG_VERSION, client->refused);
    } else {
        client->refresh_wanted = true;
        operation_wait(client, operation, ROUTE_AGAIN_MS);
    }
    return true;
}

static void route(struct dynode_client *client, struct operation *operation)
{
    if (refuse(client, operation)) return;
    for (;;) {
        uint32_t shard;
        bool wait;
        struct endpoint *endpoint = topology_route(client, operation, &shard, &wait);
        if (wait && client->refreshing) {
            operation_wait(client, operation, ROUTE_AGAIN_MS);
            return;
        }
        if (endpoint == NULL || operation->attempts == CLIENT_ATTEMPTS_MAX ||
            operation->losses >= CLIENT_LOSSES_MAX) {
            operation_give_up(client, operation);
            return;
        }
        operation->attempts++;
        struct channel *channel = endpoint_channel(client, endpoint, shard);
        if (channel == NULL) {
            operation_tried(operation, endpoint);
            continue;
        }
        operation->channel = channel;
        TAILQ_INSERT_TAIL(&channel->pending, operation, link);
        return;
    }
}

static void route_waiting(struct dynode_client *client)
{
    struct operations due = TAILQ_HEAD_INITIALIZER(due);
    struct operation *operation, *next;
    for (operation = TAILQ_FIRST(&client->waiting); operation != NULL; operation = next) {
        next = TAILQ_NEXT(operation, link);
        if (operation->not_before_ms > client->now_ms) continue;
        TAILQ_REMOVE(&client->waiting, operation, link);
        TAILQ_INSERT_TAIL(&due, operation, link);
    }
    while ((operation = TAILQ_FIRST(&due)) != NULL) {
        TAILQ_REMOVE(&due, operation, link);
        /* Who must be asked can be known only from the ring: learn it, even where it is not used to route
         * keys. */
        if (operation->node != 0 && client->cluster == NULL && operation->attempts == 0) refresh(client);
        route(client, operation);
    }
}

/* End what waits beyond its deadline, or was sent and is not answered a grace after it. */
static void call_time_out(struct dynode_client *client, struct call *call)
{
    bool over = client->now_ms >= call->give_up_ms;
    char message[600];
    for (size_t i = 0, count = call->count; i < count; i++) {
        struct operation *operation = &call->operations[i];
        if (operation->done) continue;
        bool last = call->open == 1; /* then the call is no longer ours to walk */
        if (operation->request != NULL) {
            if (!over) continue;
            /* Not a word since it was asked: a node that hangs, or bytes that make no sense any more, such as
             * a length that never ends. What the node has not whole is then taken back, this perhaps too. */
            if (operation->channel->heard_ms <= operation->request->packed_ms)
                channel_retire(client, operation->channel);
        }
        bool answered = operation->answered;
        if (operation->request != NULL) {
            snprintf(message, sizeof(message), "no answer from %s within %u ms",
                     operation->channel->endpoint->address.text, call->deadline_after_ms);
            channel_forget(operation);
            operation_fail(client, operation, DYNODE_TIMEOUT, message);
            /* The rest of it may still leave, if not all has. */
            if (operation->write)
                call->reply->public.results[operation->index].applied = DYNODE_APPLIED_MAYBE;
        } else {
            struct operations *queue =
                operation->channel != NULL ? &operation->channel->pending : &client->waiting;
            TAILQ_REMOVE(queue, operation, link);
            if (operation->answered) {
                operation_finish(client, operation);
            } else {
                snprintf(message, sizeof(message),
                         "the deadline of %u ms passed before the request could be sent%s%s",
                         call->deadline_after_ms, operation->channel != NULL ? " to " : "",
                         operation->channel != NULL ? operation->channel->endpoint->address.text : "");
                operation_fail(client, operation, DYNODE_TIMEOUT, message);
            }
        }
        if (!answered && operation->node == 0) client_unanswered(client, call->began_ms);
        if (last) return;
    }
}

/* Half of its time is over. A read that a node has left without a word since it was asked goes to another
 * one: the machine may have lost its power, and then no end of the connection comes. A write stays, for the
 * node may have it. */
static void call_doubt(struct dynode_client *client, struct call *call)
{
    call->doubt_ms = INT64_MAX;
    for (size_t i = 0; i < call->count; i++) {
        struct operation *operation = &call->operations[i];
        struct channel *channel = operation->channel;
        if (operation->done || operation->request == NULL || operation->write || operation->node != 0)
            continue;
        if (channel->heard_ms > operation->request->packed_ms) continue;
        operation_tried(operation, channel->endpoint);
        channel_retire(client, channel);
        if (operation->request == NULL) continue; /* it had not left whole, and waits already */
        channel_forget(operation);
        operation_lost(client, operation, false, "it does not answer");
    }
}

static void calls_time_out(struct dynode_client *client)
{
    if (client->now_ms < client->next_give_up_ms) return;
    struct call *call, *next;
    for (call = TAILQ_FIRST(&client->calls); call != NULL; call = next) {
        next = TAILQ_NEXT(call, link);
        if (client->now_ms >= call->deadline_ms)
            call_time_out(client, call);
        else if (client->now_ms >= call->doubt_ms)
            call_doubt(client, call);
    }
    client->next_give_up_ms = INT64_MAX;
    TAILQ_FOREACH(call, &client->calls, link)
    {
        int64_t due = call_due_ms(call, client->now_ms);
        if (due < client->next_give_up_ms) client->next_give_up_ms = due;
    }
}

static int64_t next_timer_ms(struct dynode_client *client)
{
    int64_t next = client->next_give_up_ms;
    struct channel *channel;
    TAILQ_FOREACH(channel, &client->channels, link)
    {
        if (channel->expires_ms < next) next = channel->expires_ms;
    }
    struct operation *operation;
    TAILQ_FOREACH(operation, &client->waiting, link)
    {
        if (operation->not_before_ms < next) next = operation->not_before_ms;
    }
    return next;
}

static void wait_for_events(struct dynode_client *client, int timeout_ms)
{
    size_t count = 0, i = 0;
    struct channel *channel;
    TAILQ_FOREACH(channel, &client->channels, link) count++;
    struct pollfd *fds = calloc(count + 1, sizeof(*fds));
    CHECK(fds != NULL);
    TAILQ_FOREACH(channel, &client->channels, link)
    {
        bool writes = channel->state == CHANNEL_CONNECTING ||
                      (channel->out.size > channel->out_written && !channel->retired);
        fds[i++] = (struct pollfd){.fd = channel->fd,
                                   .events = (short)(POLLIN | POLLRDHUP | (writes ? POLLOUT : 0))};
    }
    int ready = poll(fds, count, timeout_ms);
    client->now_ms = client_clock_ms();
    /* Handling one channel may open others: they are added behind those that were polled. */
    i = 0;
    TAILQ_FOREACH(channel, &client->channels, link)
    {
        if (i == count) break;
        if (ready > 0) channel_event(client, channel, fds[i].revents);
        if (client->now_ms >= channel->expires_ms)
            channel_close(client, channel,
                          channel->state == CHANNEL_HELLO
                              ? "it accepted the connection but did not say hello in time"
                              : "connecting took too long");
        i++;
    }
    free(fds);
}

static void sweep(struct dynode_client *client)
{
    struct channel *channel, *next;
    for (channel = TAILQ_FIRST(&client->channels); channel != NULL; channel = next) {
        next = TAILQ_NEXT(channel, link);
        if (channel->state != CHANNEL_CLOSED && !(channel->retired && channel->operations_sent == 0))
            continue;
        TAILQ_REMOVE(&client->channels, channel, link);
        channel_free(channel);
    }
}

static size_t hand_out(struct dynode_client *client)
{
    size_t count = 0;
    struct calls finished = TAILQ_HEAD_INITIALIZER(finished);
    TAILQ_CONCAT(&finished, &client->finished, link);
    struct call *call;
    while ((call = TAILQ_FIRST(&finished)) != NULL) {
        TAILQ_REMOVE(&finished, call, link);
        struct dynode_reply *public = &call->reply->public;
        for (size_t i = public->count; i-- > 0;) {
            const struct dynode_result *result = &public->results[i];
            if (result->status != DYNODE_OK) public->status = result->status;
            if (result->status == DYNODE_NO_SUCH_TABLE) client->refresh_wanted = !client->options.any_node;
        }
        if (!call->internal) {
            count++;
            client->in_flight -= call->count;
            client->in_flight_bytes -= call->bytes;
        }
        call->callback(call->data, public);
        call_free(call);
    }
    return count;
}

size_t dynode_poll(struct dynode_client *client, int timeout_ms)
{
    client->now_ms = client_clock_ms();
    int64_t until = timeout_ms < 0 ? INT64_MAX : client->now_ms + timeout_ms;
    int wait_ms =
        0; /* first look at what has come: an end of a connection is news for what is about to be sent */
    for (;;) {
        wait_for_events(client, wait_ms);
        calls_time_out(client);
        bool old = client->cluster != NULL && (client->now_ms >= client->refresh_at_ms ||
                                               (client->doubted && client->now_ms >= client->doubt_after_ms));
        if (client->refresh_wanted || (old && client->in_flight > 0)) refresh(client);
        /* What is lost while flushing waits again, and may go to another channel at once. */
        do {
            route_waiting(client);
            struct channel *channel;
            TAILQ_FOREACH(channel, &client->channels, link) channel_flush(client, channel);
            sweep(client);
        } while (!TAILQ_EMPTY(&client->waiting) && TAILQ_FIRST(&client->waiting)->not_before_ms == 0);
        size_t count = hand_out(client);
        if (count > 0 || client->in_flight == 0 || client->now_ms >= until) return count;
        int64_t next = next_timer_ms(client);
        if (next > until) next = until;
        int64_t left = next - client->now_ms;
        wait_ms = left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
    }
}
