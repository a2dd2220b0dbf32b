/* The router's operations that end on this node: scan, tables, the cluster's description, the node's report.
 */
#include <stdlib.h>

#include "actors/copies.h"
#include "actors/hints.h"
#include "actors/proofs.h"
#include "actors/reap.h"
#include "actors/result.h"
#include "actors/router_state.h"
#include "actors/table_homes.h"
#include "base/check.h"
#include "wire/cluster_wire.h"
#include "wire/pack.h"

/* --- scan: the shards in turn; the cursor is the shard and, within it, the last store key --- */

enum { CURSOR_SHARD_BYTES = 2 };

static struct bytes cursor_new(struct arena *arena, uint32_t shard, struct bytes key)
{
    uint8_t *cursor = arena_alloc(arena, CURSOR_SHARD_BYTES + key.size);
    put_be16(cursor, (uint16_t)shard);
    if (key.size > 0) memcpy(cursor + CURSOR_SHARD_BYTES, key.data, key.size);
    return bytes_of(cursor, CURSOR_SHARD_BYTES + key.size);
}

void router_scan(struct router *router, struct turn *turn, struct task *task,
                 const Dynode__Client__Scan *scan)
{
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(scan->table));
    uint32_t shard = scan->cursor.len >= CURSOR_SHARD_BYTES ? get_be16(scan->cursor.data) : 0;
    if (table == NULL) {
        router_done(router, turn, task, result_new(turn->arena, STATUS_NO_SUCH_TABLE, NULL));
        return;
    }
    if (shard >= turn->shards || scan->cursor.len == 1) {
        router_done(router, turn, task,
                    result_new(turn->arena, STATUS_INVALID, "the cursor is not of a scan"));
        return;
    }
    Dynode__Peer__ScanShard *message = ARENA_NEW(turn->arena, Dynode__Peer__ScanShard);
    dynode__peer__scan_shard__init(message);
    message->tag = table->tag;
    message->limit = scan->limit == 0 ? SCAN_LIMIT_DEFAULT : scan->limit;
    message->count_only = scan->count_only;
    message->primary_only = scan->primary_only;
    message->deadline_ms = turn_ms_left(turn, task->request->deadline_ns);
    if (scan->cursor.len > CURSOR_SHARD_BYTES)
        message->cursor = (ProtobufCBinaryData){.data = scan->cursor.data + CURSOR_SHARD_BYTES,
                                                .len = scan->cursor.len - CURSOR_SHARD_BYTES};
    task->shard = shard;
    struct address to = {.node = turn->self.node, .shard = shard};
    turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD, message);
}

void router_receive_scan(struct router *router, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ScanAnswer *answer = mail->body;
    struct task *task = tasks_find(&router->tasks, mail->request);
    if (task == NULL || mail->from.node != turn->self.node) return;
    Dynode__Client__Result *result = result_new(turn->arena, answer->status, NULL);
    Dynode__Client__ScanPage *page = ARENA_NEW(turn->arena, Dynode__Client__ScanPage);
    dynode__client__scan_page__init(page);
    page->keys = answer->keys;
    page->n_keys = answer->n_keys;
    page->count = answer->count;
    struct bytes cursor = {0};
    if (answer->cursor.len > 0)
        cursor = cursor_new(turn->arena, task->shard, bytes_of(answer->cursor.data, answer->cursor.len));
    else if (task->shard + 1 < turn->shards)
        cursor = cursor_new(turn->arena, task->shard + 1, cursor);
    page->cursor = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)cursor.data, .len = cursor.size};
    result->answer_case = DYNODE__CLIENT__RESULT__ANSWER_SCAN;
    result->scan = page;
    router_done(router, turn, task, result);
}

/* --- tables and cluster --- */

void router_list_tables(struct router *router, struct turn *turn, struct task *task)
{
    Dynode__Client__TableList *list = ARENA_NEW(turn->arena, Dynode__Client__TableList);
    dynode__client__table_list__init(list);
    list->tables = ARENA_ARRAY(turn->arena, Dynode__Client__TableInfo *, turn->cluster->table_count);
    for (uint32_t i = 0; i < turn->cluster->table_count; i++) {
        const struct table *table = &turn->cluster->tables[i];
        if (!table->dropped) list->tables[list->n_tables++] = table_to_info(table, turn->arena);
    }
    Dynode__Client__Result *result = result_new(turn->arena, STATUS_OK, NULL);
    result->answer_case = DYNODE__CLIENT__RESULT__ANSWER_TABLES;
    result->tables = list;
    router_done(router, turn, task, result);
}

void router_cluster_info(struct router *router, struct turn *turn, struct task *task)
{
    Dynode__Client__Result *result = result_new(turn->arena, STATUS_OK, NULL);
    result->answer_case = DYNODE__CLIENT__RESULT__ANSWER_CLUSTER;
    result->cluster = cluster_to_description(turn->cluster, turn->ring, turn->arena);
    for (size_t i = 0; i < result->cluster->n_members; i++) {
        Dynode__Client__Member *member = result->cluster->members[i];
        member->reachable = peers_reachable(turn->peers, member->id);
    }
    router_done(router, turn, task, result);
}

void router_administer(struct router *router, struct turn *turn, struct task *task,
                       Dynode__Client__Operation *operation, uint32_t deadline_ms)
{
    (void)router;
    Dynode__Peer__Administer *message = ARENA_NEW(turn->arena, Dynode__Peer__Administer);
    dynode__peer__administer__init(message);
    message->operation = operation;
    message->deadline_ms = deadline_ms;
    struct address to = {.node = turn->self.node, .shard = CLUSTER_OWNER_SHARD};
    turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_ADMINISTER, message);
}

/* --- the node's report: one ShardReport from each shard --- */

struct report {
    uint32_t waiting;
    struct buffer *shards; /* packed ShardReports */
    uint32_t count;
};

void router_report_free(struct report *report)
{
    if (report == NULL) return;
    for (uint32_t i = 0; i < report->count; i++) buffer_fini(&report->shards[i]);
    free(report->shards);
    free(report);
}

void router_node_status(struct router *router, struct turn *turn, struct task *task)
{
    if (task->request->report != NULL) {
        router_done(router, turn, task, result_new(turn->arena, STATUS_INVALID, "one status a request"));
        return;
    }
    struct report *report = calloc(1, sizeof(*report));
    CHECK(report != NULL);
    report->shards = calloc(turn->shards, sizeof(*report->shards));
    CHECK(report->shards != NULL);
    report->count = report->waiting = turn->shards;
    task->request->report = report;
    Dynode__Peer__ReportShard *message = ARENA_NEW(turn->arena, Dynode__Peer__ReportShard);
    dynode__peer__report_shard__init(message);
    for (uint32_t shard = 0; shard < turn->shards; shard++) {
        struct address to = {.node = turn->self.node, .shard = shard};
        turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_REPORT_SHARD, message);
    }
}

static Dynode__Client__PeerReport **report_peers(const struct turn *turn, size_t *count)
{
    const struct peers *peers = turn->peers;
    Dynode__Client__PeerReport **list = ARENA_ARRAY(turn->arena, Dynode__Client__PeerReport *, peers->count);
    const struct outbox *outbox = shard_outbox(turn->shard);
    for (uint32_t i = 0; i < peers->count; i++) {
        const struct peer *peer = &peers->list[i];
        list[i] = ARENA_NEW(turn->arena, Dynode__Client__PeerReport);
        dynode__client__peer_report__init(list[i]);
        list[i]->node = peer->node;
        list[i]->up = peer->reachable;
        list[i]->heard_ms_ago = peer->heard_ns == 0 ? 0 : (turn->now_ns - peer->heard_ns) / 1000000;
        for (uint32_t q = 0; q < outbox->queue_count; q++)
            if (outbox->queues[q].node == peer->node && outbox->queues[q].lane == LANE_DATA)
                list[i]->queued_bytes = outbox->queues[q].batch.size;
    }
    *count = peers->count;
    return list;
}

static Dynode__Client__HintReport **report_hints(const struct router *router, const struct turn *turn,
                                                 size_t *count)
{
    const struct hints *hints = router->hints;
    Dynode__Client__HintReport **list = ARENA_ARRAY(turn->arena, Dynode__Client__HintReport *, hints->count);
    *count = 0;
    for (uint32_t i = 0; i < hints->count; i++) {
        const struct hint_target *target = &hints->list[i];
        if (target->count == 0) continue;
        Dynode__Client__HintReport *report = ARENA_NEW(turn->arena, Dynode__Client__HintReport);
        dynode__client__hint_report__init(report);
        report->node = target->node;
        report->count = target->count;
        report->bytes = target->bytes;
        report->oldest_ms = target->oldest_ms;
        list[(*count)++] = report;
    }
    return list;
}

static uint32_t vnodes_held(const struct turn *turn)
{
    uint32_t held = 0, n = ring_nodes(turn->ring) < 3 ? ring_nodes(turn->ring) : 3;
    for (uint32_t vnode = turn->self.shard; vnode < ring_vnodes(turn->ring); vnode += turn->shards)
        held += ring_is_home(turn->ring, vnode, n, turn->self.node);
    return held;
}

/* The numbers of homes that tables have, as bits. */
static uint32_t numbers_of_homes(const struct turn *turn)
{
    uint32_t ns = 0;
    for (uint32_t i = 0; i < turn->cluster->table_count; i++)
        ns |= UINT32_C(1) << table_homes_count(&turn->cluster->tables[i], turn);
    return ns;
}

/* Copies that are not filled, and the homes that they wait for. */
static void report_unfilled(const struct router *router, const struct turn *turn,
                            Dynode__Client__ShardReport *report)
{
    const struct cluster *cluster = turn->cluster;
    uint32_t ns = numbers_of_homes(turn);
    bool *waits = arena_zalloc(turn->arena, ring_nodes(turn->ring) * sizeof(*waits));
    for (uint32_t vnode = turn->self.shard; vnode < cluster->vnodes; vnode += turn->shards) {
        const uint64_t *list = ring_preference_list(turn->ring, vnode);
        for (uint32_t n = 2; n <= COPIES_N_MAX; n++) {
            if ((ns >> n & 1) == 0 || !ring_is_home(turn->ring, vnode, n, turn->self.node) ||
                copies_is_filled(router->copies, vnode, n))
                continue;
            report->unfilled++;
            for (uint32_t home = 0; home < n; home++)
                if (list[home] != turn->self.node && copies_waits_for(router->copies, vnode, n, list[home]))
                    waits[ring_node_index(turn->ring, list[home])] = true;
        }
    }
    report->filled = report->unfilled == 0;
    report->unfilled_for = ARENA_ARRAY(turn->arena, uint64_t, ring_nodes(turn->ring));
    for (uint32_t i = 0; i < ring_nodes(turn->ring); i++)
        if (waits[i] && !member_is_given_up(&cluster->members[i]))
            report->unfilled_for[report->n_unfilled_for++] = cluster->members[i].id;
}

/* Since when is one copy equal with all others, as far as is known? False: not since the start. */
static bool was_equal(const struct router *router, const struct turn *turn, uint32_t vnode, uint32_t n,
                      uint64_t *oldest_ns)
{
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    for (uint32_t home = 0; home < n; home++) {
        const struct member *member = cluster_find_member(turn->cluster, list[home]);
        uint64_t at_ns;
        if (list[home] == turn->self.node || (member != NULL && member_is_given_up(member))) continue;
        if (!proofs_find(router->proofs, vnode, n, list[home], &at_ns)) return false;
        if (*oldest_ns > at_ns) *oldest_ns = at_ns;
    }
    return true;
}

/* ... and of all of them, the oldest. */
static void report_equal(const struct router *router, const struct turn *turn,
                         Dynode__Client__ShardReport *report)
{
    uint32_t ns = numbers_of_homes(turn);
    uint64_t oldest_ns = turn->now_ns;
    for (uint32_t vnode = turn->self.shard; vnode < turn->cluster->vnodes; vnode += turn->shards)
        for (uint32_t n = 2; n <= COPIES_N_MAX; n++)
            if ((ns >> n & 1) != 0 && ring_is_home(turn->ring, vnode, n, turn->self.node))
                report->unproven += !was_equal(router, turn, vnode, n, &oldest_ns);
    report->equal_ms_ago = (turn->now_ns - oldest_ns + 999999) / 1000000;
}

void router_report_shard(struct router *router, struct turn *turn, const struct mail *mail)
{
    Dynode__Client__ShardReport *report = ARENA_NEW(turn->arena, Dynode__Client__ShardReport);
    dynode__client__shard_report__init(report);
    const struct counters *counters = turn->counters;
    struct store_stats stats = store_stats(turn->store);
    report->shard = turn->self.shard;
    report->vnodes = vnodes_held(turn);
    report->gets = counters->gets;
    report->puts = counters->puts;
    report->replica_reads = counters->replica_reads;
    report->replica_writes = counters->replica_writes;
    report->repairs = counters->repairs;
    report->errors = counters->errors;
    report->overloaded = counters->overloaded;
    report->connections = (uint32_t)counters->connections;
    report->requests_in_flight = (uint32_t)counters->in_flight;
    report->coordinating = (uint32_t)counters->coordinating;
    report->inbox_bytes = shard_mail_bytes(turn->shard);
    report->outbox_bytes = outbox_bytes(shard_outbox(turn->shard));
    report->turns = counters->turns;
    report->syncs = stats.syncs;
    report->store_bytes = stats.bytes_on_disk;
    report->store_log_bytes = stats.log_bytes;
    report->cache_bytes = stats.cache_bytes;
    report->cache_bytes_max = stats.cache_bytes_max;
    report->dropped = counters->dropped;
    report->corrupt = counters->corrupt;
    report_unfilled(router, turn, report);
    report_equal(router, turn, report);
    report->hints = report_hints(router, turn, &report->n_hints);
    report->hint_bytes_max = router->hints->bytes_max;
    report->hints_refused = router->hints->refused;
    report->dirty = counters->dirty;
    report->lingering = (uint32_t)counters->lingering;
    report->owed = (uint32_t)counters->owed;
    report->results_bytes = counters->results_bytes;
    report->mail_wait_us = counters->mail_wait_us;
    report->expired = counters->expired;
    report->repairs_shed = counters->repairs_shed;
    report->speculated = counters->speculated;
    report->speculations_withheld = counters->speculations_withheld;
    report->speculation_wait_us = counters->speculation_wait_us;
    report->vnodes_built = (uint32_t)counters->vnodes_built;
    report->exchanges = counters->exchanges;
    report->differing = counters->differing;
    report->objects_in = counters->objects_in;
    report->objects_out = counters->objects_out;
    report->audits = counters->audits;
    report->audited = counters->audited;
    report->damaged = counters->damaged;
    report->tombstones = router->reap->count;
    report->reaped = counters->reaped;
    report->mended = counters->mended;
    report->peers = report_peers(turn, &report->n_peers);
    Dynode__Peer__ShardReported *message = ARENA_NEW(turn->arena, Dynode__Peer__ShardReported);
    dynode__peer__shard_reported__init(message);
    message->report = report;
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_SHARD_REPORTED, message);
}

static Dynode__Client__NodeReport *assemble(const struct router *router, struct turn *turn,
                                            const struct report *report)
{
    Dynode__Client__NodeReport *node = ARENA_NEW(turn->arena, Dynode__Client__NodeReport);
    dynode__client__node_report__init(node);
    node->node = turn->self.node;
    node->name = (char *)(uintptr_t)router->options.name;
    node->software = (char *)(uintptr_t)router->options.software;
    node->uptime_ms =
        turn->wall_ms > router->options.started_wall_ms ? turn->wall_ms - router->options.started_wall_ms : 0;
    node->resident_bytes = router->options.resident_bytes != NULL ? router->options.resident_bytes() : 0;
    node->shards = ARENA_ARRAY(turn->arena, Dynode__Client__ShardReport *, report->count);
    for (uint32_t i = 0; i < report->count; i++) {
        const struct buffer *packed = &report->shards[i];
        node->shards[node->n_shards++] =
            dynode__client__shard_report__unpack(arena_allocator(turn->arena), packed->size, packed->data);
    }
    return node;
}

void router_receive_report(struct router *router, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ShardReported *message = mail->body;
    struct task *task = tasks_find(&router->tasks, mail->request);
    if (task == NULL || mail->from.node != turn->self.node || message->report == NULL) return;
    struct report *report = task->request->report;
    CHECK(report != NULL);
    CHECK(mail->from.shard < report->count);
    struct buffer *packed = &report->shards[mail->from.shard];
    if (packed->size > 0) return;
    pack_append(packed, &message->report->base);
    if (--report->waiting > 0) return;
    Dynode__Client__Result *result = result_new(turn->arena, STATUS_OK, NULL);
    result->answer_case = DYNODE__CLIENT__RESULT__ANSWER_NODE;
    result->node = assemble(router, turn, report);
    router_done(router, turn, task, result);
}
