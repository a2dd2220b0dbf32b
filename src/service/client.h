/* Client: one client's connection on the loop of the shard that serves it, and the hello before that.
 * Internal to src/service: client_port.c accepts, and hands answers out. */
#pragma once

#include <stdatomic.h>

#include "base/log.h"
#include "client.pb-c.h"
#include "service/client_port.h"
#include "service/listener.h"

enum {
    CLIENT_SLOT_BITS = 21,
    CLIENT_SLOTS_MAX = 1 << CLIENT_SLOT_BITS, /* above connections_max and CLIENT_REFUSED_MAX together */
    CLIENT_REFUSED_MAX = 256,                 /* connections above the bound that are being told so */
    NO_ANSWER = -1,
};

/* One connection on the loop of one shard. */
struct client {
    struct connection connection;
    struct port_shard *shard;
    uint64_t id;  /* for the shard: a serial number, and the slot in the low CLIENT_SLOT_BITS */
    bool counted; /* toward connections_max */
    bool known;   /* the shard was given something of it, and not told that it has gone */
    int events;   /* what the poll watches for */
    size_t held_bytes;
    int32_t answer_first, answer_last; /* of the answers at hand; NO_ANSWER */
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

/* A client on @s, with a socket that becomes its own. NULL: there is no room; the socket is still the
 * caller's. */
struct client *client_add(struct port_shard *s, int fd, enum connection_state state);

/* NULL: it has gone. */
struct client *client_find(const struct port_shard *s, uint64_t id);

/* Say hello; anything but OK ends the connection. Not NULL: it must end at once. */
const char *client_say_hello(struct client *client, Dynode__Client__Status status, const char *message);

/* Requests that were read behind its hello. Not NULL: as above. */
const char *client_feed(struct client *client, struct bytes input);

/* Nothing more is read, and once all is written the connection ends: the shard has said @why. */
void client_hang_up(struct client *client, const char *why);

/* After whatever happened to it: watch for what matters now, account for its memory, see to its deadlines.
 * @why not NULL: it must end. The client may be gone afterwards. */
void client_settle(struct client *client, const char *why);

/* Close it without a word to the shard. */
void client_close(struct client *client);
