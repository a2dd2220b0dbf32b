#include "service/client_port.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "service/listener.h"
#include "wire/client_wire.h"
#include "wire/frame.h"

enum {
    SLOT_BITS = 21,
    SLOTS_MAX = 1 << SLOT_BITS, /* above connections_max and REFUSED_MAX together */
    REFUSED_MAX = 256,          /* connections above the bound that are being told so */
    ACCEPTS_AT_ONCE = 64,
    ACCEPT_PAUSE_MS = 100, /* when the process has no descriptors left */
    PIECES_MAX = 64,       /* of one write */
    HELLO_READ_BYTES = 4096,
    HELLO_ARENA_BYTES = 64 * 1024,
    SWEEP_MS_MAX = 250,
    NONE = -1,
};
static_assert(HELLO_READ_BYTES + FRAME_HELLO_BYTES_MAX <= LOOP_FACTS_BYTES_MAX,
              "what follows a hello can be passed on");

/* One connection on the loop of one shard. */
struct client {
    struct connection connection;
    struct port_shard *shard;
    uint64_t id;  /* for the shard: a serial number, and the slot in the low SLOT_BITS */
    bool counted; /* toward connections_max */
    bool known;   /* the shard was given something of it, and not told that it has gone */
    bool touched; /* by the answers at hand */
    int events;   /* what the poll watches for */
    size_t held_bytes;
    int32_t answer_first, answer_last; /* of the answers at hand; NONE */
    const char *hang_up;
    uv_poll_t poll;
};

/* What belongs to one shard's thread. */
struct port_shard {
    struct client_port *port;
    struct loop *loop;
    struct client **slots; /* NULL: free */
    uint32_t slot_count, slots_used;
    uint32_t *free_slots;
    uint32_t free_count;
    uint64_t serial;
    size_t held_bytes;
    struct log_rate log_rate;
    uv_timer_t sweep;
    bool stopping;
    bool draining;
    uint8_t *scratch;     /* read_bytes */
    int32_t *answer_next; /* of the answers at hand: the connection's next one */
    uint32_t answer_capacity;
    struct client **touched;
    uint32_t touched_capacity;
};

struct accepting {
    struct client_port *port;
    struct listener listener;
    uv_poll_t poll;
};

struct client_port {
    struct client_port_options options;
    struct accepting *listeners; /* on shard 0's loop once it runs */
    struct port_shard *shards;
    uv_timer_t resume_accept;
    bool listening; /* the handles above are in the loop */
    uint32_t next_shard;
    _Atomic uint32_t connections; /* of the node: a connection moves from one thread to another */
    uint32_t refused;             /* shard 0's */
};

static void client_ready(uv_poll_t *poll, int status, int events);

/* --- life of a client
 * ------------------------------------------------------------------------------------------- */

static void note_connections(struct port_shard *s)
{
    shard_counters(loop_shard(s->loop))->connections = s->slots_used;
}

/* A slot for a new client. NULL: there are SLOTS_MAX. */
static struct client *client_add(struct port_shard *s, int fd, enum connection_state state)
{
    if (s->free_count == 0) {
        uint32_t count = s->slot_count == 0 ? 64 : s->slot_count * 2;
        if (count > SLOTS_MAX) return NULL;
        s->slots = realloc(s->slots, count * sizeof(struct client *));
        s->free_slots = realloc(s->free_slots, count * sizeof *s->free_slots);
        CHECK(s->slots != NULL && s->free_slots != NULL);
        for (uint32_t i = count; i > s->slot_count; i--) {
            s->slots[i - 1] = NULL;
            s->free_slots[s->free_count++] = i - 1;
        }
        s->slot_count = count;
    }
    struct client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    connection_init(&client->connection, fd, state, uv_now(loop_uv(s->loop)));
    if (uv_poll_init(loop_uv(s->loop), &client->poll, fd) != 0) { /* epoll refused it */
        free(client);
        return NULL;
    }
    uint32_t slot = s->free_slots[--s->free_count];
    client->shard = s;
    client->id = ++s->serial << SLOT_BITS | slot;
    client->answer_first = client->answer_last = NONE;
    client->poll.data = client;
    s->slots[slot] = client;
    s->slots_used++;
    note_connections(s);
    return client;
}

static struct client *client_find(const struct port_shard *s, uint64_t id)
{
    uint64_t slot = id & (SLOTS_MAX - 1);
    struct client *client = slot < s->slot_count ? s->slots[slot] : NULL;
    return client != NULL && client->id == id ? client : NULL;
}

static void client_freed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Tell the shard, once, that nothing more comes from the client. */
static void client_forget(struct client *client)
{
    if (!client->known) return;
    client->known = false;
    shard_client_closed(loop_shard(client->shard->loop), client->id);
}

/* Take it out of this loop; the socket is closed unless it was taken out before. */
static void client_remove(struct client *client)
{
    struct port_shard *s = client->shard;
    uint32_t slot = (uint32_t)(client->id & (SLOTS_MAX - 1));
    CHECK(s->slots[slot] == client);
    uv_poll_stop(&client->poll);
    s->held_bytes -= client->held_bytes;
    connection_fini(&client->connection);
    s->slots[slot] = NULL;
    s->free_slots[s->free_count++] = slot;
    s->slots_used--;
    uv_close((uv_handle_t *)&client->poll, client_freed);
}

static void client_close(struct client *client)
{
    struct port_shard *s = client->shard;
    if (client->counted)
        atomic_fetch_sub(&s->port->connections, 1);
    else
        s->port->refused--;
    client_remove(client);
    note_connections(s);
}

/* The other end of @fd, for the log. */
static void peer_name(int fd, char *name, size_t name_bytes)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[64], port[8];
    if (getpeername(fd, (struct sockaddr *)&address, &size) == 0 && address.ss_family != AF_UNIX &&
        getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        snprintf(name, name_bytes, "%s:%s", host, port);
    } else {
        snprintf(name, name_bytes, "(local)");
    }
}

/* The connection must end, now. */
static void client_end(struct client *client, const char *why)
{
    struct port_shard *s = client->shard;
    if (why != connection_gone) {
        char name[80];
        peer_name(client->connection.fd, name, sizeof name);
        log_line_rated(&s->log_rate, LOG_LEVEL_WARN, "client %s: ended: %s", name, why);
    }
    client_forget(client);
    client_close(client);
}

/* --- deadlines
 * -------------------------------------------------------------------------------------------------- */

static void sweep(uv_timer_t *timer)
{
    struct port_shard *s = timer->data;
    uint64_t now_ms = uv_now(loop_uv(s->loop));
    bool more = false;
    for (uint32_t i = 0; i < s->slot_count; i++) {
        struct client *client = s->slots[i];
        if (client == NULL || !connection_has_deadline(&client->connection)) continue;
        const char *why = connection_expired(&client->connection, &s->port->options.limits, now_ms);
        if (why != NULL)
            client_end(client, why);
        else
            more = true;
    }
    if (!more) uv_timer_stop(timer);
}

/* The sweep runs only while some connection has something to be late with. */
static void sweep_need(struct port_shard *s)
{
    const struct connection_limits *l = &s->port->options.limits;
    uint64_t period = SWEEP_MS_MAX;
    const uint32_t bounds[] = {l->hello_ms, l->frame_ms, l->write_ms, l->linger_ms};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i] / 4 < period) period = bounds[i] / 4 + 1;
    }
    if (!uv_is_active((uv_handle_t *)&s->sweep)) uv_timer_start(&s->sweep, sweep, period, period);
}

/* --- after whatever happened to a client
 * -------------------------------------------------------------------------- */

/* Watch for what matters now, account for its memory, see to its deadlines. The client may be gone
 * afterwards. */
static void client_settle(struct client *client, const char *why)
{
    struct port_shard *s = client->shard;
    struct connection *c = &client->connection;
    size_t held = connection_held_bytes(c);
    s->held_bytes += held - client->held_bytes;
    bool grew = held > client->held_bytes;
    client->held_bytes = held;
    if (why == NULL && grew && s->held_bytes > s->port->options.held_bytes_max) {
        why = "all connections together hold too much unfinished input and unsent answers";
    }
    if (why != NULL) {
        client_end(client, why);
        return;
    }
    bool unsent = connection_unsent(c) > 0;
    if (c->state == CONNECTION_ENDING && !unsent) {
        shutdown(c->fd, SHUT_WR);
        c->state = CONNECTION_LINGERING;
        c->since_ms = uv_now(loop_uv(s->loop));
    }
    int events = (unsent ? UV_WRITABLE : 0) | (c->paused || c->state == CONNECTION_ENDING ? 0 : UV_READABLE);
    if (events != client->events) {
        client->events = events;
        CHECK(uv_poll_start(&client->poll, events, client_ready) == 0);
    }
    if (connection_has_deadline(c)) sweep_need(s);
}

/* --- hello
 * -------------------------------------------------------------------------------------------------------- */

/* Say hello; anything but OK ends the connection. Not NULL: it must end at once. */
static const char *say_hello(struct client *client, Dynode__Client__Status status, const char *message)
{
    struct port_shard *s = client->shard;
    const struct client_port_options *options = &s->port->options;
    const struct turn *turn = shard_turn_context(loop_shard(s->loop));
    Dynode__Client__ServerHello hello = DYNODE__CLIENT__SERVER_HELLO__INIT;
    hello.status = status;
    hello.message = (char *)message;
    hello.version = CLIENT_PROTOCOL_VERSION;
    hello.cluster = options->cluster;
    hello.node = options->node;
    hello.shard = loop_index(s->loop) + 1;
    hello.shards = options->shards;
    hello.ring_version = turn->ring != NULL ? ring_version(turn->ring) : 0;
    hello.frame_bytes_max = FRAME_CLIENT_BYTES_MAX;
    hello.requests_max = options->connection_operations_max;
    hello.software = (char *)options->software;
    uint8_t frame[FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX];
    size_t size = dynode__client__server_hello__get_packed_size(&hello);
    CHECK(size <= FRAME_HELLO_BYTES_MAX);
    frame_header(frame, size);
    dynode__client__server_hello__pack(&hello, frame + FRAME_HEADER_BYTES);
    client->connection.state = status == DYNODE__CLIENT__STATUS__OK ? CONNECTION_SERVING : CONNECTION_ENDING;
    struct iovec piece = {.iov_base = frame, .iov_len = FRAME_HEADER_BYTES + size};
    return connection_write(&client->connection, &options->limits, &piece, 1, uv_now(loop_uv(s->loop)));
}

struct hello_outcome {
    struct client *client;
    const char *why;  /* the connection must end */
    uint32_t pass_to; /* the shard that serves it */
};

/* The first frame. True: served here, and what follows are requests. */
static bool hello_frame(struct hello_outcome *outcome, struct bytes payload)
{
    struct client *client = outcome->client;
    struct port_shard *s = client->shard;
    struct arena arena;
    Dynode__Client__ClientHello *hello = NULL;
    arena_init(&arena, HELLO_ARENA_BYTES);
    enum status status = client_hello_unpack(payload, &arena, &hello);
    uint32_t wanted = status == STATUS_OK ? hello->shard : 0;
    arena_fini(&arena);
    if (status == STATUS_WRONG_VERSION) {
        outcome->why = say_hello(client, DYNODE__CLIENT__STATUS__WRONG_VERSION, "this node speaks version 1");
    } else if (status != STATUS_OK) {
        outcome->why = "its first frame is no hello";
    } else if (s->draining) {
        outcome->why = say_hello(client, DYNODE__CLIENT__STATUS__STOPPING, "the node is stopping");
    } else {
        uint32_t shards = s->port->options.shards;
        outcome->pass_to = wanted != 0 ? (wanted - 1) % shards : s->port->next_shard++ % shards;
        if (outcome->pass_to != loop_index(s->loop)) return false;
        outcome->why = say_hello(client, DYNODE__CLIENT__STATUS__OK, "");
    }
    return outcome->why == NULL && client->connection.state == CONNECTION_SERVING;
}

static bool take_frame(void *context, struct connection *c, struct bytes payload)
{
    struct hello_outcome *outcome = context;
    struct client *client = outcome->client;
    if (c->state == CONNECTION_HELLO) return hello_frame(outcome, payload);
    if (c->state != CONNECTION_SERVING) return false;
    client->known = true;
    shard_client_frame(loop_shard(client->shard->loop), client->id, payload);
    return true;
}

/* --- reading and writing
 * ------------------------------------------------------------------------------------------ */

static void client_read(struct client *client)
{
    struct port_shard *s = client->shard;
    const struct client_port_options *options = &s->port->options;
    struct connection *c = &client->connection;
    /* What stays in the socket is read in a later round: polls are level-triggered. */
    if (c->state == CONNECTION_SERVING && shard_mail_bytes(loop_shard(s->loop)) > options->mail_bytes_max)
        return;
    size_t bytes = options->limits.read_bytes;
    if (c->state == CONNECTION_HELLO && bytes > HELLO_READ_BYTES) bytes = HELLO_READ_BYTES;
    uint32_t here = loop_index(s->loop);
    struct hello_outcome outcome = {.client = client, .pass_to = here};
    struct connection_sink sink = {.frame = take_frame, .context = &outcome};
    const char *why = connection_read(c, s->scratch, bytes, uv_now(loop_uv(s->loop)), &sink);
    if (why == NULL) why = outcome.why;
    if (why == NULL && outcome.pass_to != here) {
        int fd = c->fd;
        struct buffer after_hello = c->in;
        c->fd = -1;
        c->in = (struct buffer){0};
        client_remove(client); /* it stays counted */
        note_connections(s);
        loop_pass_descriptor(s->loop, outcome.pass_to, fd, buffer_bytes(&after_hello));
        buffer_fini(&after_hello);
        return;
    }
    client_settle(client, why);
}

static void client_ready(uv_poll_t *poll, int status, int events)
{
    struct client *client = poll->data;
    struct port_shard *s = client->shard;
    if (status < 0) {
        client_end(client, connection_gone);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        const char *why = connection_write(&client->connection, &s->port->options.limits, NULL, 0,
                                           uv_now(loop_uv(s->loop)));
        uint64_t id = client->id;
        client_settle(client, why);
        if (client_find(s, id) == NULL) return;
    }
    if ((events & UV_READABLE) != 0 && (client->events & UV_READABLE) != 0) client_read(client);
}

/* --- answers
 * ------------------------------------------------------------------------------------------------------ */

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
        s->answer_next[i] = NONE;
        struct client *client = client_find(s, answers[i].connection);
        if (client == NULL || client->connection.state != CONNECTION_SERVING || client->hang_up != NULL)
            continue;
        if (client->answer_first == NONE) {
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
    for (int32_t i = client->answer_first; i != NONE; i = s->answer_next[i]) {
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
        client->answer_first = client->answer_last = NONE;
        if (client->hang_up != NULL && why == NULL) {
            char name[80];
            peer_name(client->connection.fd, name, sizeof name);
            log_line_rated(&s->log_rate, LOG_LEVEL_WARN, "client %s: ended: %s", name, client->hang_up);
            client->connection.state = CONNECTION_ENDING;
            client_forget(client);
        }
        client_settle(client, why);
    }
}

/* --- accepting
 * ---------------------------------------------------------------------------------------------------- */

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
    if (counted || port->refused < REFUSED_MAX) client = client_add(s, fd, CONNECTION_HELLO);
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
    client_settle(client, say_hello(client, DYNODE__CLIENT__STATUS__OVERLOADED, "too many connections"));
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

/* --- the other hooks
 * ---------------------------------------------------------------------------------------------- */

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
    struct hello_outcome outcome = {.client = client};
    struct connection_sink sink = {.frame = take_frame, .context = &outcome};
    const char *why = s->draining
                          ? say_hello(client, DYNODE__CLIENT__STATUS__STOPPING, "the node is stopping")
                          : say_hello(client, DYNODE__CLIENT__STATUS__OK, "");
    if (why == NULL && client->connection.state == CONNECTION_SERVING && facts.size > 0) {
        why = connection_feed(&client->connection, facts, uv_now(loop_uv(loop)), &sink);
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

/* --- the port
 * ----------------------------------------------------------------------------------------------------- */

enum status client_port_alloc(const struct client_port_options *options, char *why, size_t why_bytes,
                              struct client_port **out)
{
    CHECK(options->shards > 0 && options->connections_max + REFUSED_MAX < SLOTS_MAX);
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
