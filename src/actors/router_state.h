/* The inside of a router, shared by router.c (requests) and router_local.c (scan, status and the like). */
#pragma once

#include "actors/node.h"
#include "actors/router.h"
#include "actors/router_request.h"
#include "wire/client_wire.h"

struct router {
    struct actor actor;
    struct node_options options; /* .cluster is empty: the turn's is the one to look at */
    const struct hints *hints;
    const struct copies *copies;
    const struct reap *reap;
    const struct proofs *proofs;
    bool draining;
    struct map connections; /* id to struct connection */
    struct tasks tasks;
    uint64_t
        doubt_until_ns; /* this node has refused a write of its own keys: others are kept, for other homes */
    size_t forward_bytes;                  /* of writes that are kept until they are answered */
    uint64_t token_client, token_sequence; /* of the names that writes without one get */
};

/* A new task of @request for its operation @operation. */
struct task *router_task(struct router *router, struct request *request, enum task_kind kind,
                         uint32_t operation);

/* The task's result: give it back, and answer when it was the request's last. */
void router_done(struct router *router, struct turn *turn, struct task *task, Dynode__Client__Result *result);

/* Operations of this node itself: each ends in router_done, now or later. */
void router_scan(struct router *router, struct turn *turn, struct task *task,
                 const Dynode__Client__Scan *scan);
void router_list_tables(struct router *router, struct turn *turn, struct task *task);
void router_cluster_info(struct router *router, struct turn *turn, struct task *task);
void router_node_status(struct router *router, struct turn *turn, struct task *task);
void router_administer(struct router *router, struct turn *turn, struct task *task,
                       Dynode__Client__Operation *operation, uint32_t deadline_ms);

/* Their answers. */
void router_receive_scan(struct router *router, struct turn *turn, const struct mail *mail);
void router_receive_report(struct router *router, struct turn *turn, const struct mail *mail);
void router_report_shard(struct router *router, struct turn *turn, const struct mail *mail);

/* Free what a request keeps of a report. */
void router_report_free(struct report *report);
