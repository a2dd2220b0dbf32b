#include "service/client.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"
#include "wire/client_wire.h"
#include "wire/frame.h"

enum { HELLO_READ_BYTES = 4096, HELLO_ARENA_BYTES = 64 * 1024, SWEEP_MS_MAX = 250 };
static_assert(HELLO_READ_BYTES + FRAME_HELLO_BYTES_MAX <= LOOP_FACTS_BYTES_MAX,
              "what follows a hello can be passed on");

static void client_ready(uv_poll_t *poll, int status, int events);

/* --- life of a client --- */

static void note_connections(struct port_shard *s)
{
    shard_counters(loop_shard(s->loop))->connections = s->slots_used;
}

struct client *client_add(struct port_shard *s, int fd, enum connection_state state)
{
    if (s->free_count == 0) {
        uint32_t count = s->slot_count == 0 ? 64 : s->slot_count * 2;
        if (count > CLIENT_SLOTS_MAX) return NULL;
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
    client->id = ++s->serial << CLIENT_SLOT_BITS | slot;
    client->answer_first = client->answer_last = NO_ANSWER;
    client->poll.data = client;
    s->slots[slot] = client;
    s->slots_used++;
    note_connections(s);
    return client;
}

struct client *client_find(const struct port_shard *s, uint64_t id)
{
    uint64_t slot = id & (CLIENT_SLOTS_MAX - 1);
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
    uint32_t slot = (uint32_t)(client->id & (CLIENT_SLOTS_MAX - 1));
    CHECK(s->slots[slot] == client);
    /* Before the descriptor is closed: libuv takes it out of its epoll set once more here, and another thread
     * may have the number by then. */
    uv_close((uv_handle_t *)&client->poll, client_freed);
    s->held_bytes -= client->held_bytes;
    connection_fini(&client->connection);
    s->slots[slot] = NULL;
    s->free_slots[s->free_count++] = slot;
    s->slots_used--;
}

void client_close(struct client *client)
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

static void client_warn(struct client *client, const char *why)
{
    char name[80];
    peer_name(client->connection.fd, name, sizeof name);
    log_line_rated(&client->shard->log_rate, LOG_LEVEL_WARN, "client %s: ended: %s", name, why);
}

/* The connection must end, now. */
static void client_end(struct client *client, const char *why)
{
    if (why != connection_gone) client_warn(client, why);
    client_forget(client);
    client_close(client);
}

/* --- deadlines --- */

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

/* --- after whatever happened to a client --- */

void client_settle(struct client *client, const char *why)
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

/* --- hello --- */

const char *client_say_hello(struct client *client, Dynode__Client__Status status, const char *message)
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
    if (status == STATUS_OK) {
        char address[80];
        peer_name(client->connection.fd, address, sizeof address);
        log_line(LOG_LEVEL_DEBUG, "client %s: hello from \"%s\"", address, hello->client);
    }
    arena_fini(&arena);
    if (status == STATUS_WRONG_VERSION) {
        outcome->why =
            client_say_hello(client, DYNODE__CLIENT__STATUS__WRONG_VERSION, "this node speaks version 1");
    } else if (status == STATUS_TOO_LARGE) {
        outcome->why = client_say_hello(client, DYNODE__CLIENT__STATUS__INVALID,
                                        "client: a name of at most 63 bytes is needed");
    } else if (status != STATUS_OK) {
        outcome->why = "its first frame is no hello";
    } else if (s->draining) {
        outcome->why = client_say_hello(client, DYNODE__CLIENT__STATUS__STOPPING, "the node is stopping");
    } else {
        uint32_t shards = s->port->options.shards;
        outcome->pass_to = wanted != 0 ? (wanted - 1) % shards : s->port->next_shard++ % shards;
        if (outcome->pass_to != loop_index(s->loop)) return false;
        outcome->why = client_say_hello(client, DYNODE__CLIENT__STATUS__OK, "");
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

/* --- reading and writing --- */

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

const char *client_feed(struct client *client, struct bytes input)
{
    struct hello_outcome outcome = {.client = client};
    struct connection_sink sink = {.frame = take_frame, .context = &outcome};
    return connection_feed(&client->connection, input, uv_now(loop_uv(client->shard->loop)), &sink);
}

void client_hang_up(struct client *client, const char *why)
{
    client_warn(client, why);
    client->connection.state = CONNECTION_ENDING;
    client_forget(client);
}
