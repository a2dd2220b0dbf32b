/* What a router knows of its clients: connections, their requests, and the operations under way. */
#pragma once

#include "actor/actor.h"
#include "actors/request_id.h"
#include "base/list.h"
#include "base/map.h"

struct connection {
    uint64_t id;
    uint32_t in_flight;   /* operations */
    struct list requests; /* of struct request, by its link */
};

struct request {
    struct list link;
    struct connection *connection; /* NULL: the client has gone */
    uint64_t id;                   /* the client's */
    uint32_t pending;              /* operations without a result */
    uint32_t others;               /* of its operations: not get, put or delete */
    struct list tasks;             /* of struct task: those that wait for somebody */
    uint64_t deadline_timer, deadline_ns;
    struct buffer results; /* packed fields of a Response, not yet sent */
    struct report *report; /* a NodeReport that is being put together */
};

enum task_kind {
    TASK_FREE,
    TASK_READ,
    TASK_WRITE, /* it changes something: its outcome may be unknown */
};

enum forward_stage { FORWARD_NONE, FORWARD_OFFERED, FORWARD_SENT };

/* Of a write that another node coordinates: router_forward.h. */
struct forward {
    enum forward_stage stage;
    uint32_t vnode, n;
    bool sloppy;
    bool lost;            /* the coordinator can't be reached any more */
    uint64_t coordinator; /* then: who it was */
    uint64_t looking;     /* who is asked whether it holds the write; 0: nobody */
    uint32_t looked;      /* homes that were, as bits: the write may come of it yet */
    uint32_t rounds;      /* in which all were asked that since it was lost */
    uint32_t offers;      /* so far, or since it was refused last */
    uint32_t next;        /* of the preference list: who is asked next */
    uint64_t refused; /* who did, as bits of the preference list: a write comes to nobody twice (repeats.h) */
    uint64_t timer;
    struct buffer operation; /* packed */
};

/* One operation that waits for somebody's answer. Its id travels as the request number. */
struct task {
    uint64_t id; /* request_id.h */
    enum task_kind kind;
    struct list link; /* of request->tasks */
    struct request *request;
    uint32_t operation; /* index in the client's request */
    uint64_t node;      /* who was asked, and owes an answer; 0: this node */
    uint32_t shard;     /* of a scan: which shard of ours */
    struct forward forward;
};

struct tasks {
    struct task **pool;
    uint32_t count, in_use;
    uint32_t *unused;
    uint32_t generation; /* that new ids begin with: request_id_draw */
};

struct task *tasks_take(struct tasks *tasks);
void tasks_give_back(struct tasks *tasks, struct task *task);
struct task *tasks_find(const struct tasks *tasks, uint64_t id); /* NULL for none */
void tasks_fini(struct tasks *tasks);
