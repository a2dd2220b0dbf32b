/* Peer port: where other nodes' links come in. One a node.
 *
 *      accepted --> their hello --> ours: welcome, or why not --> frames, each a batch --> the mailbox of the
 * shard (5 s, 1 KiB)                                                           that the hello named
 *
 * All of it runs in nng's callbacks, which only move bytes: receive, cut into frames, push into the mailbox.
 * There is one operation at a time on each inbound link: while a mailbox is full its frame waits and nothing
 * more is received, so the back-pressure reaches the sender's outbox. Nothing is sent after our hello.
 *
 * A node restarts with a higher incarnation: its hello ends the links of the one before. A lower one is
 * refused: another process with that id is alive. */
#pragma once

#include "base/status.h"
#include "runtime/mailbox.h"
#include "runtime/peer_hello.h"

enum {
    PEER_PORT_HELLO_MS_MAX = 5000,
    PEER_PORT_SILENCE_MS_MAX = 30000, /* links ping every 200 ms: one that is silent so long is dead */
};

struct peer_port_options {
    struct peer_identity self;
    const char *address;        /* tcp://HOST:PORT, ipc:///PATH */
    struct mailbox **mailboxes; /* by shard; must outlive the port */
    uint32_t shards;            /* the sender number of links in each mailbox is this, too */
    const uint64_t *members;    /* the ids of those that may call, sorted (copied) */
    uint32_t member_count;
    uint32_t links_max; /* accepted at once, strangers included */
    /* What went wrong with a link, one line, on one of nng's threads; @address is the caller's. */
    void (*notice)(void *context, const char *address, const char *text);
    void *context;
};

struct peer_port;

/* Listen.
 * STATUS_IN_USE   Something else listens there. STATUS_INVALID  The address is none, or not of this machine.
 * *why is static memory, or nng's. */
enum status peer_port_open(const struct peer_port_options *options, struct peer_port **out, const char **why);

/* Close all links and the listener, and wait for what is under way. The mailboxes must still be there. */
void peer_port_close(struct peer_port *port);

/* The TCP port that is listened on, for an address with port 0; 0 for ipc. */
uint16_t peer_port_number(struct peer_port *port);

/* Links that are there now, greeted or not. */
uint32_t peer_port_links(struct peer_port *port);
