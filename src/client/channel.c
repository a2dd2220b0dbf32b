#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "client/internal.h"
#include "wire/frame.h"
#include "wire/unpack.h"
#include "wire/varint.h"

enum {
    READ_BYTES = 64 * 1024,
    READS_MAX = 8,
    IN_BYTES_KEPT_MAX = 1 << 20,
    REQUEST_HEAD_BYTES_MAX = FRAME_HEADER_BYTES + 2 * (1 + VARINT_BYTES_MAX) + 1 + FIXED64_BYTES,
};

/* Connecting. */

/* Begin with the next of the addresses that the name stands for. */
static bool connect_next(struct channel *channel)
{
    while (channel->address_next < channel->addresses.count) {
        channel->fd = address_connect(&channel->addresses, channel->address_next++);
        if (channel->fd >= 0) return true;
    }
    return false;
}

struct channel *channel_open(struct dynode_client *client, struct endpoint *endpoint, uint32_t shard)
{
    struct address_list addresses;
    const char *why;
    if (!address_resolve(&endpoint->address, &addresses, &why)) {
        endpoint_failed(client, endpoint, why);
        return NULL;
    }
    client->now_ms = client_clock_ms(); /* looking up a name may have taken long */
    struct channel *channel = calloc(1, sizeof(*channel));
    CHECK(channel != NULL);
    channel->endpoint = endpoint;
    channel->shard = shard;
    channel->addresses = addresses;
    channel->expires_ms = client->now_ms + client->options.connect_timeout_ms;
    TAILQ_INIT(&channel->pending);
    if (!connect_next(channel)) {
        endpoint_failed(client, endpoint, strerror(errno));
        free(channel);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&client->channels, channel, link);
    return channel;
}

static void say_hello(struct dynode_client *client, struct channel *channel)
{
    Dynode__Client__ClientHello hello = DYNODE__CLIENT__CLIENT_HELLO__INIT;
    hello.magic = CLIENT_HELLO_MAGIC;
    hello.version = CLIENT_PROTOCOL_VERSION;
    hello.shard = channel->shard;
    hello.client = client->name;
    size_t size = dynode__client__client_hello__get_packed_size(&hello);
    uint8_t *to = buffer_reserve(&channel->out, FRAME_HEADER_BYTES + size);
    frame_header(to, size);
    dynode__client__client_hello__pack(&hello, to + FRAME_HEADER_BYTES);
    channel->out.size += FRAME_HEADER_BYTES + size;
    channel->packed += FRAME_HEADER_BYTES + size;
    channel->state = CHANNEL_HELLO;
}

/* The kernel has decided about connect(). */
static void connected(struct dynode_client *client, struct channel *channel)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) {
        say_hello(client, channel);
        return;
    }
    close(channel->fd);
    channel->fd = -1;
    if (!connect_next(channel)) channel_close(client, channel, strerror(error));
}

/* Closing. */

static void requests_lost(struct dynode_client *client, struct channel *channel, const char *why)
{
    for (uint32_t i = 0; i < channel->request_capacity; i++) {
        struct request *request = channel->requests[i];
        if (request == NULL) continue;
        bool may_have = channel->written >= request->end;
        for (uint32_t k = 0; k < request->count; k++) {
            if (request->operations[k] == NULL) continue;
            request->operations[k]->losses++;
            operation_lost(client, request->operations[k], may_have, why);
        }
        free(request);
        channel->requests[i] = NULL;
    }
    channel->request_count = 0;
}

void channel_close(struct dynode_client *client, struct channel *channel, const char *why)
{
    if (channel->state == CHANNEL_CLOSED) return;
    bool was_ready = channel->state == CHANNEL_READY;
    channel->state = CHANNEL_CLOSED;
    if (channel->fd >= 0) close(channel->fd);
    channel->fd = -1;
    endpoint_forget_channel(channel->endpoint, channel);
    if (!channel->retired) endpoint_failed(client, channel->endpoint, why);
    struct operation *operation;
    while ((operation = TAILQ_FIRST(&channel->pending)) != NULL) {
        TAILQ_REMOVE(&channel->pending, operation, link);
        /* A connection that had worked may just be an old one, of a node that has restarted since: worth
         * asking again. */
        if (was_ready)
            operation->losses++;
        else
            operation_tried(operation, channel->endpoint);
        operation_lost(client, operation, false, why);
    }
    requests_lost(client, channel, why);
}

void channel_free(struct channel *channel)
{
    if (channel->fd >= 0) close(channel->fd);
    for (uint32_t i = 0; i < channel->request_capacity; i++) free(channel->requests[i]);
    free(channel->requests);
    buffer_fini(&channel->in);
    buffer_fini(&channel->out);
    free(channel);
}

/* Requests. */

static void requests_grow(struct channel *channel)
{
    uint32_t capacity = channel->request_capacity == 0 ? 64 : channel->request_capacity * 2;
    struct request **requests = calloc(capacity, sizeof(*requests));
    CHECK(requests != NULL);
    /* Ids that differ modulo the old capacity differ modulo twice that. */
    for (uint32_t i = 0; i < channel->request_capacity; i++) {
        if (channel->requests[i] != NULL)
            requests[channel->requests[i]->id % capacity] = channel->requests[i];
    }
    free(channel->requests);
    channel->requests = requests;
    channel->request_capacity = capacity;
}

static void request_insert(struct channel *channel, struct request *request)
{
    if (channel->request_count >= channel->request_capacity / 2) requests_grow(channel);
    do {
        request->id = ++channel->next_id;
    } while (channel->requests[request->id % channel->request_capacity] != NULL);
    channel->requests[request->id % channel->request_capacity] = request;
    channel->request_count++;
}

static struct request *request_find(struct channel *channel, uint64_t id)
{
    if (channel->request_capacity == 0) return NULL;
    struct request *request = channel->requests[id % channel->request_capacity];
    return request != NULL && request->id == id ? request : NULL;
}

static void request_remove(struct channel *channel, struct request *request)
{
    channel->requests[request->id % channel->request_capacity] = NULL;
    channel->request_count--;
    free(request);
}

/* The operation is no longer of its request. The request goes with its last one. */
static void detach(struct operation *operation)
{
    struct request *request = operation->request;
    struct channel *channel = operation->channel;
    request->operations[operation->position] = NULL;
    operation->request = NULL;
    operation->channel = NULL;
    channel->operations_sent--;
    if (--request->open == 0) request_remove(channel, request);
}

void channel_forget(struct operation *operation)
{
    detach(operation);
}

void channel_retire(struct dynode_client *client, struct channel *channel)
{
    static const char why[] = "it does not answer";
    if (channel->retired) return;
    channel->retired = true;
    endpoint_forget_channel(channel->endpoint, channel);
    endpoint_failed(client, channel->endpoint, why);
    struct operation *operation;
    while ((operation = TAILQ_FIRST(&channel->pending)) != NULL) {
        TAILQ_REMOVE(&channel->pending, operation, link);
        operation_lost(client, operation, false, why);
    }
    for (uint32_t i = 0; i < channel->request_capacity; i++) {
        struct request *request = channel->requests[i];
        if (request == NULL || channel->written >= request->end) continue;
        for (uint32_t k = 0, count = request->count; k < count; k++) {
            operation = request->operations[k];
            if (operation == NULL) continue;
            bool end = request->open == 1; /* then the request goes too */
            detach(operation);
            operation_lost(client, operation, false, why);
            if (end) break;
        }
    }
}

/* Pack the next operations of one call as a request. False: none may go now. */
static bool pack_request(struct dynode_client *client, struct channel *channel)
{
    struct operation *first = TAILQ_FIRST(&channel->pending);
    if (first == NULL || channel->out.size - channel->out_written >= CLIENT_OUT_BYTES_MAX) return false;
    uint32_t room = channel->operations_max > channel->operations_sent
                        ? channel->operations_max - channel->operations_sent
                        : 0;
    if (room > CLIENT_REQUEST_OPERATIONS_MAX) room = CLIENT_REQUEST_OPERATIONS_MAX;
    if (room == 0) return false;
    int64_t left = first->call->deadline_ms - client->now_ms;
    if (left <= 0) {
        TAILQ_REMOVE(&channel->pending, first, link);
        first->channel = NULL;
        operation_fail(client, first, DYNODE_TIMEOUT, "the deadline passed before the request could be sent");
        return true;
    }
    size_t bytes = 0;
    uint32_t count = 0;
    struct operation *operation;
    TAILQ_FOREACH(operation, &channel->pending, link)
    {
        if (operation->call != first->call || count == room) break;
        if (count > 0 && bytes + operation->packed.size > CLIENT_REQUEST_BYTES_MAX) break;
        bytes += 1 + varint_bytes(operation->packed.size) + operation->packed.size;
        count++;
    }
    struct request *request = calloc(1, sizeof(*request) + count * sizeof(struct operation *));
    CHECK(request != NULL);
    request->count = request->open = count;
    request->packed_ms = client->now_ms;
    request_insert(channel, request);

    struct buffer *out = &channel->out;
    size_t start = out->size;
    uint8_t *to = buffer_reserve(out, REQUEST_HEAD_BYTES_MAX + bytes) + FRAME_HEADER_BYTES;
    *to++ = 1 << 3 | 0; /* id */
    to = varint_write(to, request->id);
    *to++ = 2 << 3 | 0; /* deadline_ms */
    to = varint_write(to, (uint64_t)left);
    if (client->cluster != NULL && !client->options.any_node) {
        *to++ = 3 << 3 | 1; /* ring_version */
        to = fixed64_write(to, client->cluster->ring_version);
    }
    for (uint32_t i = 0; i < count; i++) {
        operation = TAILQ_FIRST(&channel->pending);
        TAILQ_REMOVE(&channel->pending, operation, link);
        *to++ = 4 << 3 | 2; /* operations */
        to = varint_write(to, operation->packed.size);
        memcpy(to, operation->packed.data, operation->packed.size);
        to += operation->packed.size;
        operation->request = request;
        operation->position = i;
        request->operations[i] = operation;
    }
    channel->operations_sent += count;
    out->size = (size_t)(to - out->data);
    frame_header(out->data + start, out->size - start - FRAME_HEADER_BYTES);
    channel->packed += out->size - start;
    request->end = channel->packed;
    return true;
}

void channel_flush(struct dynode_client *client, struct channel *channel)
{
    if ((channel->state != CHANNEL_HELLO && channel->state != CHANNEL_READY) || channel->retired) return;
    for (;;) {
        if (channel->state == CHANNEL_READY) {
            while (pack_request(client, channel)) {
            }
        }
        size_t left = channel->out.size - channel->out_written;
        if (left == 0) break;
        ssize_t n = send(channel->fd, channel->out.data + channel->out_written, left, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n < 0) {
            channel_close(client, channel, strerror(errno));
            return;
        }
        channel->out_written += (size_t)n;
        channel->written += (uint64_t)n;
        if (channel->out_written == channel->out.size) {
            channel->out_written = 0;
            buffer_clear(&channel->out);
        } else {
            buffer_consume(&channel->out, channel->out_written);
            channel->out_written = 0;
        }
    }
}

/* Answers. */

static void take_hello(struct dynode_client *client, struct channel *channel, struct bytes payload)
{
    ProtobufCMessage *message;
    if (unpack(&dynode__client__server_hello__descriptor, payload, &client->scratch, &message) != STATUS_OK) {
        channel_close(client, channel, "its hello does not decode: is this a client port of dynode?");
        return;
    }
    const Dynode__Client__ServerHello *hello = (const Dynode__Client__ServerHello *)message;
    if (hello->status != DYNODE__CLIENT__STATUS__OK) {
        char why[CLIENT_WHY_BYTES];
        snprintf(why, sizeof(why), "%s: %s", dynode_status_name((enum dynode_status)hello->status),
                 hello->message);
        channel_close(client, channel, why);
        return;
    }
    if (hello->version != CLIENT_PROTOCOL_VERSION || hello->shards == 0 ||
        hello->shards > CLIENT_SHARDS_MAX || hello->requests_max == 0) {
        channel_close(client, channel, "its hello makes no sense: is this a client port of dynode?");
        return;
    }
    if (client->cluster_id != 0 && hello->cluster != client->cluster_id) {
        channel_close(client, channel, "it belongs to another cluster than the node that answered first");
        return;
    }
    struct endpoint *endpoint = channel->endpoint;
    client->cluster_confirmed |= client->cluster_id != 0;
    client->cluster_id = hello->cluster;
    if (endpoint->member && (endpoint->id != hello->node || endpoint->shards != hello->shards))
        client->doubted = true;
    endpoint->id = hello->node;
    endpoint->shards = hello->shards;
    endpoint->failures = 0;
    endpoint->down_until_ms = 0;
    if (client->preferred == NULL) client->preferred = endpoint;
    channel->operations_max = hello->requests_max;
    channel->state = CHANNEL_READY;
    if (channel->shard == 0) endpoint_learn_shard(endpoint, channel, hello->shard);
    channel->expires_ms = INT64_MAX;
    client_saw_ring(client, hello->ring_version);
}

/* A description names the cluster as the hellos did, or one of both is wrong. */
static bool confirm_cluster(struct dynode_client *client, const struct dynode_cluster *cluster)
{
    if (cluster->id != client->cluster_id) {
        if (!client->cluster_confirmed) client->cluster_id = 0;
        return false;
    }
    client->cluster_confirmed = true;
    return true;
}

static const char *take_results(struct dynode_client *client, struct channel *channel,
                                const Dynode__Client__Response *response)
{
    const char *why;
    for (size_t i = 0; i < response->n_results; i++) {
        struct request *request = request_find(channel, response->id);
        if (request == NULL) return NULL; /* all its operations were answered or given up */
        const Dynode__Client__Result *result = response->results[i];
        if (result->operation >= request->count) return "it answered an operation that was not asked";
        struct operation *operation = request->operations[result->operation];
        if (operation == NULL) continue;
        if (!operation->partial) {
            reply_clear(operation->call->reply, operation->index);
            operation->answered = false;
            operation->partial = true;
        }
        if (!reply_add(operation->call->reply, operation->index, result, &why)) return why;
        const struct dynode_cluster *cluster =
            operation->call->reply->public.results[operation->index].cluster;
        if (cluster != NULL && !confirm_cluster(client, cluster))
            return "it describes another cluster than its hello named";
        if (result->more) continue;
        operation->partial = false;
        operation->answered = true;
        client->heard_ms = client->now_ms;
        detach(operation);
        operation_answered(client, operation, channel->endpoint);
    }
    struct request *request = request_find(channel, response->id);
    if (!response->last || request == NULL) return NULL;
    for (uint32_t i = 0, count = request->count; i < count; i++) {
        struct operation *operation = request->operations[i];
        if (operation == NULL) continue;
        bool end = request->open == 1;
        detach(operation);
        operation_fail(client, operation, DYNODE_INTERNAL,
                       "the node ended its response without a result for this");
        if (end) break;
    }
    return NULL;
}

static void take_response(struct dynode_client *client, struct channel *channel, struct bytes payload)
{
    ProtobufCMessage *message;
    if (unpack(&dynode__client__response__descriptor, payload, &client->scratch, &message) != STATUS_OK) {
        channel_close(client, channel, "it sent a response that does not decode");
        return;
    }
    const Dynode__Client__Response *response = (const Dynode__Client__Response *)message;
    if (response->id == 0 || response->id > channel->next_id) {
        channel_close(client, channel, "it answered a request that was not made");
        return;
    }
    const char *why = take_results(client, channel, response);
    if (why != NULL) {
        channel_close(client, channel, why);
        return;
    }
    client_saw_ring(client, response->ring_version);
}

/* Take all whole frames of the input. */
static void take_frames(struct dynode_client *client, struct channel *channel)
{
    size_t taken = 0;
    while (channel->state == CHANNEL_HELLO || channel->state == CHANNEL_READY) {
        bool hello = channel->state == CHANNEL_HELLO;
        struct bytes input = bytes_of(channel->in.data + taken, channel->in.size - taken);
        struct bytes payload;
        size_t bytes;
        enum frame_state state =
            frame_next(input, hello ? FRAME_HELLO_BYTES_MAX : FRAME_CLIENT_BYTES_MAX, &payload, &bytes);
        if (state == FRAME_PARTIAL) break;
        if (state == FRAME_BAD) {
            channel_close(client, channel,
                          hello ? "it does not speak dynode's protocol: is this a client port of dynode?"
                                : "it sent a frame of a length that is not allowed");
            break;
        }
        if (hello)
            take_hello(client, channel, payload);
        else
            take_response(client, channel, payload);
        arena_reset(&client->scratch);
        channel->heard_ms = client->now_ms;
        taken += bytes;
    }
    buffer_consume(&channel->in, taken);
    if (channel->in.size == 0 && channel->in.capacity > IN_BYTES_KEPT_MAX) buffer_fini(&channel->in);
}

/* @ending: the node has closed its side, and what it said before that is to be read up to the end. */
static void channel_read(struct dynode_client *client, struct channel *channel, bool ending)
{
    for (int i = 0; i < READS_MAX && channel->state != CHANNEL_CLOSED; i++) {
        uint8_t *to = buffer_reserve(&channel->in, READ_BYTES);
        ssize_t n = recv(channel->fd, to, READ_BYTES, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) {
            bool hello = channel->state == CHANNEL_HELLO;
            channel_close(client, channel,
                          n < 0   ? strerror(errno)
                          : hello ? "it closed the connection before its hello"
                                  : "it closed the connection");
            return;
        }
        channel->in.size += (size_t)n;
        take_frames(client, channel);
        if (n < READ_BYTES && !ending) return;
    }
}

void channel_event(struct dynode_client *client, struct channel *channel, short revents)
{
    if (channel->state == CHANNEL_CLOSED || revents == 0) return;
    if (channel->state == CHANNEL_CONNECTING) {
        connected(client, channel);
        return;
    }
    bool ending = (revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    if (ending || (revents & POLLIN) != 0) channel_read(client, channel, ending);
}
