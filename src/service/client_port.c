#include "service/client_port.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "service/client.h"

enum {
    ACCEPTS_AT_ONCE = 64,
    ACCEPT_PAUSE_MS = 100, /* when the process has no descriptors left */
    PIECES_MAX = 64,       /* of one write */
};

/* --- answers --- */

/* Thread each connection's answers together; s->touched lists the connections. */
static uint32_t gather(struct port_shard *s, const struct answer *answers, uint32_t count)
{
    uint32_t touched = 0;
    if (count > s->answer_capacity) {
        s->answer_capacity = count * 2;
        s->answer_next = realloc(s->answer_next, s->answer_capacity * sizeof *s->answer_next);
        s->touched = realloc(s->touched, s->answer_capacity * sizeof(struct client *));
        CHECK(s->answer_next != NULL && s->touched != NULL);
    }
    for (uint32_t i = 0; i < count; i++) {
        s->answer_next[i] = NO_ANSWER;
        struct client *client = client_find(s, answers[i].connection);
        if (client == NULL || client->connection.state != CONNECTION_SERVING || client->hang_up != NULL)
            continue;
        if (client->answer_first == NO_ANSWER) {
            client->answer_first = (int32_t)i;
            s->touched[touched++] = client;
        } else {
            s->answer_next[client->answer_last] = (int32_t)i;
        }
        client->answer_last = (int32_t)i;
        client->hang_up = answers[i].hang_up;
    }
    return touched;
}

/* Write one connection's answers, as few pieces and calls as they need. */
static const char *write_answers(struct client *client, const struct answer *answers, struct bytes bytes)
{
    struct port_shard *s = client->shard;
    const struct connection_limits *limits = &s->port->options.limits;
    uint64_t now_ms = uv_now(loop_uv(s->loop));
    struct iovec pieces[PIECES_MAX];
    size_t count = 0, end = SIZE_MAX; /* end: of the last piece, as an offset */
    for (int32_t i = client->answer_first; i != NO_ANSWER; i = s->answer_next[i]) {
        if (answers[i].size == 0) continue;
        if (answers[i].offset == end) {
            pieces[count - 1].iov_len += answers[i].size;
        } else {
            if (count == PIECES_MAX) {
                const char *why = connection_write(&client->connection, limits, pieces, count, now_ms);
                if (why != NULL) return why;
                count = 0;
            }
            pieces[count++] = (struct iovec){.iov_base = (void *)(bytes.data + answers[i].offset),
                                             .iov_len = answers[i].size};
        }
        end = answers[i].offset + answers[i].size;
    }
    return count > 0 ? connection_write(&client->connection, limits, pieces, count, now_ms) : NULL;
}

static void hook_answers(void *context, struct loop *loop, const struct answer *answers, uint32_t count,
                         struct bytes bytes)
{
    struct port_shard *s = &((struct client_port *)context)->shards[loop_index(loop)];
    uint32_t touched = gather(s, answers, count);
    for (uint32_t i = 0; i < touched; i++) {
        struct client *client = s->touched[i];
        const char *why = write_answers(client, answers, bytes);
        client->answer_first = client->answer_last = NO_ANSWER;
        if (client->hang_up != NULL && why == NULL) client_hang_up(client, client->hang_up);
        client_settle(client, why);
    }
}

/* --- accepting --- */

static void accept_ready(uv_poll_t *poll, int status, int events);

static void accept_resume(uv_timer_t *timer)
{
    struct client_port *port = timer->data;
    for (uint32_t i = 0; i < port->options.address_count; i++) {
        uv_poll_start(&port->listeners[i].poll, UV_READABLE, accept_ready);
    }
}

static void accept_one(struct client_port *port, int fd)
{
    struct port_shard *s = &port->shards[0];
    bool counted = atomic_fetch_add(&port->connections, 1) < port->options.connections_max;
    if (!counted) atomic_fetch_sub(&port->connections, 1);
    struct client *client = NULL;
    if (counted || port->refused < CLIENT_REFUSED_MAX) client = client_add(s, fd, CONNECTION_HELLO);
    if (client == NULL) {
        close(fd);
        if (counted) atomic_fetch_sub(&port->connections, 1);
        return;
    }
    client->counted = counted;
    if (counted) {
        client_settle(client, NULL);
        return;
    }
    port->refused++;
    log_line_rated(&s->log_rate, LOG_LEVEL_WARN, "clients: a connection is refused: there are %u already",
                   port->options.connections_max);
    client_settle(client,
                  client_say_hello(client, DYNODE__CLIENT__STATUS__OVERLOADED, "too many connections"));
}

static void accept_ready(uv_poll_t *poll, int status, int events)
{
    struct accepting *listening = poll->data;
    struct client_port *port = listening->port;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(listening->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(port, fd);
            continue;
        }
        if (errno == EAGAIN) return;
        if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
        /* Out of descriptors or memory: the queue would wake us without end. */
        log_line_rated(&port->shards[0].log_rate, LOG_LEVEL_ERROR, "clients: cannot accept for now: %s",
                       strerror(errno));
        for (uint32_t k = 0; k < port->options.address_count; k++) uv_poll_stop(&port->listeners[k].poll);
        uv_timer_start(&port->resume_accept, accept_resume, ACCEPT_PAUSE_MS, 0);
        return;
    }
}

static void stop_listening(struct client_port *port)
{
    if (!port->listening) return;
    port->listening = false;
    uv_close((uv_handle_t *)&port->resume_accept, NULL);
    for (uint32_t i = 0; i < port->options.address_count; i++) {
        uv_poll_stop(&port->listeners[i].poll);
        uv_close((uv_handle_t *)&port->listeners[i].poll, NULL);
        listener_close(&port->listeners[i].listener);
    }
}

/* --- the other hooks --- */

static void hook_start(void *context, struct loop *loop)
{
    struct client_port *port = context;
    struct port_shard *s = &port->shards[loop_index(loop)];
    CHECK(loop_shards(loop) == port->options.shards);
    s->loop = loop;
    CHECK(uv_timer_init(loop_uv(loop), &s->sweep) == 0);
    s->sweep.data = s;
    if (loop_index(loop) != 0) return;
    CHECK(uv_timer_init(loop_uv(loop), &port->resume_accept) == 0);
    port->resume_accept.data = port;
    port->listening = true;
    for (uint32_t i = 0; i < port->options.address_count; i++) {
        CHECK(uv_poll_init(loop_uv(loop), &port->listeners[i].poll, port->listeners[i].listener.fd) == 0);
        port->listeners[i].poll.data = &port->listeners[i];
    }
    accept_resume(&port->resume_accept);
}

static void hook_descriptor(void *context, struct loop *loop, int fd, struct bytes facts)
{
    struct client_port *port = context;
    struct port_shard *s = &port->shards[loop_index(loop)];
    struct client *client = client_add(s, fd, CONNECTION_HELLO);
    if (client == NULL) {
        close(fd);
        atomic_fetch_sub(&port->connections, 1);
        return;
    }
    client->counted = true;
    const char *why = s->draining
                          ? client_say_hello(client, DYNODE__CLIENT__STATUS__STOPPING, "the node is stopping")
                          : client_say_hello(client, DYNODE__CLIENT__STATUS__OK, "");
    if (why == NULL && client->connection.state == CONNECTION_SERVING && facts.size > 0) {
        why = client_feed(client, facts);
    }
    client_settle(client, why);
}

static void close_all(struct port_shard *s)
{
    for (uint32_t i = 0; i < s->slot_count; i++) {
        if (s->slots[i] != NULL) client_close(s->slots[i]);
    }
}

static void hook_restarted(void *context, struct loop *loop)
{
    struct port_shard *s = &((struct client_port *)context)->shards[loop_index(loop)];
    close_all(s);
}

static void hook_drain(void *context, struct loop *loop)
{
    struct client_port *port = context;
    port->shards[loop_index(loop)].draining = true;
    if (loop_index(loop) == 0) stop_listening(port);
}

static bool hook_unsent(void *context, struct loop *loop)
{
    struct port_shard *s = &((struct client_port *)context)->shards[loop_index(loop)];
    for (uint32_t i = 0; i < s->slot_count; i++) {
        if (s->slots[i] != NULL && connection_unsent(&s->slots[i]->connection) > 0) return true;
    }
    return false;
}

static void hook_stop(void *context, struct loop *loop)
{
    struct client_port *port = context;
    struct port_shard *s = &port->shards[loop_index(loop)];
    close_all(s);
    uv_close((uv_handle_t *)&s->sweep, NULL);
    if (loop_index(loop) == 0) stop_listening(port);
}

struct loop_hooks client_port_hooks(struct client_port *port)
{
    return (struct loop_hooks){.context = port,
                               .start = hook_start,
                               .answers = hook_answers,
                               .descriptor = hook_descriptor,
                               .restarted = hook_restarted,
                               .drain = hook_drain,
                               .unsent = hook_unsent,
                               .stop = hook_stop};
}

/* --- the port --- */

enum status client_port_alloc(const struct client_port_options *options, char *why, size_t why_bytes,
                              struct client_port **out)
{
    CHECK(options->shards > 0 && options->connections_max + CLIENT_REFUSED_MAX < CLIENT_SLOTS_MAX);
    struct client_port *port = calloc(1, sizeof *port);
    CHECK(port != NULL);
    port->options = *options;
    if (port->options.mail_bytes_max == 0) port->options.mail_bytes_max = 8 * 1024 * 1024;
    if (port->options.held_bytes_max == 0) port->options.held_bytes_max = 256 * 1024 * 1024;
    port->listeners = calloc(options->address_count, sizeof *port->listeners);
    port->shards = calloc(options->shards, sizeof *port->shards);
    CHECK(port->listeners != NULL && port->shards != NULL);
    for (uint32_t i = 0; i < options->shards; i++) {
        port->shards[i].port = port;
        port->shards[i].scratch = malloc(options->limits.read_bytes);
        CHECK(port->shards[i].scratch != NULL);
    }
    for (uint32_t i = 0; i < options->address_count; i++) port->listeners[i].listener.fd = -1;
    for (uint32_t i = 0; i < options->address_count; i++) {
        port->listeners[i].port = port;
        enum status status =
            listener_open(options->addresses[i], &port->listeners[i].listener, why, why_bytes);
        if (status == STATUS_OK) continue;
        client_port_free(port);
        return status;
    }
    port->options.addresses = NULL; /* borrowed until now */
    *out = port;
    return STATUS_OK;
}

void client_port_free(struct client_port *port)
{
    for (uint32_t i = 0; i < port->options.address_count; i++) listener_close(&port->listeners[i].listener);
    for (uint32_t i = 0; i < port->options.shards; i++) {
        struct port_shard *s = &port->shards[i];
        CHECK(s->slots_used == 0);
        free(s->slots);
        free(s->free_slots);
        free(s->scratch);
        free(s->answer_next);
        free(s->touched);
    }
    free(port->listeners);
    free(port->shards);
    free(port);
}

const char *client_port_address(const struct client_port *port, uint32_t index)
{
    return port->listeners[index].listener.address;
}
