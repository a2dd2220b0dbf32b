#include "actors/router.h"

#include <stdlib.h>

#include "actors/result.h"
#include "actors/router_forward.h"
#include "actors/router_state.h"
#include "actors/wish.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/frame.h"
#include "wire/pack.h"
#include "wire/unpack.h"
#include "wire/varint.h"

/* The fields of client.proto's Response, as protobuf tags: results are packed as they come, and the rest
 * behind them. */
enum {
    TAG_RESPONSE_RESULTS = 2 << 3 | 2,
    RESULT_BYTES_MAX = FRAME_CLIENT_BYTES_MAX - 64, /* the rest is room for what stands around it */
};

/* --- answers --- */

static void response_init(Dynode__Client__Response *response, const struct request *request,
                          const struct turn *turn)
{
    dynode__client__response__init(response);
    response->id = request->id;
    response->ring_version = ring_version(turn->ring);
}

/* Send the results that wait. */
static void flush(struct turn *turn, struct request *request, bool last)
{
    turn->counters->results_bytes -= request->results.size;
    if (request->connection == NULL) {
        buffer_clear(&request->results);
        return;
    }
    Dynode__Client__Response head;
    response_init(&head, request, turn);
    head.last = last;
    pack_append(&request->results, &head.base);
    turn_answer(turn, request->connection->id, buffer_bytes(&request->results));
    buffer_clear(&request->results);
}

static void append_result(struct turn *turn, struct request *request, const Dynode__Client__Result *result)
{
    size_t length = pack_size(&result->base);
    if (length > RESULT_BYTES_MAX) { /* no coordinator of ours makes one */
        Dynode__Client__Result *instead = result_new(turn->arena, STATUS_INTERNAL, NULL);
        instead->operation = result->operation;
        instead->applied = result->applied;
        instead->more = result->more;
        result = instead;
        length = pack_size(&result->base);
    }
    if (request->results.size > 0 && request->results.size + length > ROUTER_FRAME_BYTES)
        flush(turn, request, false);
    size_t size = 1 + varint_bytes(length) + length;
    uint8_t *to = buffer_reserve(&request->results, size);
    *to++ = TAG_RESPONSE_RESULTS;
    pack(&result->base, varint_write(to, length));
    request->results.size += size;
    turn->counters->results_bytes += size;
    if (turn->counters->results_bytes > ROUTER_RESULTS_BYTES_MAX && request->pending > 0)
        flush(turn, request, false);
}

/* Siblings above a frame go out a few at a time, each part marked `more`; context and receipt come with the
 * last. */
static void append_split(struct turn *turn, struct request *request, Dynode__Client__Result *result)
{
    size_t first = 0, bytes = 0;
    for (size_t i = 0; i < result->n_siblings; i++) {
        size_t next = result->siblings[i]->value.len + 64;
        if (i > first && bytes + next > ROUTER_FRAME_BYTES) {
            Dynode__Client__Result part = *result;
            part.siblings += first;
            part.n_siblings = i - first;
            part.context = (ProtobufCBinaryData){0};
            part.n_replicas = 0;
            part.more = true;
            append_result(turn, request, &part);
            first = i;
            bytes = 0;
        }
        bytes += next;
    }
    if (first > 0) result->siblings += first;
    result->n_siblings -= first;
    append_result(turn, request, result);
}

static void count_error(struct turn *turn, Dynode__Client__Status status)
{
    if (status == DYNODE__CLIENT__STATUS__OVERLOADED) turn->counters->overloaded++;
    if (status != DYNODE__CLIENT__STATUS__OK && status != DYNODE__CLIENT__STATUS__NOT_FOUND &&
        status != DYNODE__CLIENT__STATUS__CONFLICT)
        turn->counters->errors++;
}

static void request_free(struct turn *turn, struct request *request)
{
    turn_disarm(turn, request->deadline_timer);
    if (request->connection != NULL) list_remove(&request->link);
    router_report_free(request->report);
    buffer_fini(&request->results);
    free(request);
}

/* One operation has its result. The request ends with its last. */
static void add_result(struct turn *turn, struct request *request, uint32_t operation,
                       Dynode__Client__Result *result)
{
    CHECK(request->pending > 0);
    request->pending--;
    result->operation = operation;
    count_error(turn, result->status);
    bool last = request->pending == 0;
    if (request->connection != NULL) {
        request->connection->in_flight--;
        append_split(turn, request, result);
    }
    if (!last) return;
    flush(turn, request, true);
    request_free(turn, request);
}

struct task *router_task(struct router *router, struct request *request, enum task_kind kind,
                         uint32_t operation)
{
    struct task *task = tasks_take(&router->tasks);
    task->kind = kind;
    task->request = request;
    task->operation = operation;
    task->node = 0;
    list_append(&request->tasks, &task->link);
    return task;
}

void router_done(struct router *router, struct turn *turn, struct task *task, Dynode__Client__Result *result)
{
    struct request *request = task->request;
    uint32_t operation = task->operation;
    if (task->node != 0) turn_settle(turn, task->node, 0);
    if (task_is_forwarded(task)) forward_end(router, turn, task);
    tasks_give_back(&router->tasks, task);
    turn->counters->in_flight = router->tasks.in_use;
    add_result(turn, request, operation, result);
}

/* --- sending operations to their coordinators --- */

/* Where a write goes. False: nobody who may coordinate it can be reached, or (*node is one of them then)
 * those that can have too much waiting for them. Only where no home can be reached somebody else will do. */
static bool write_target(const struct turn *turn, uint32_t vnode, uint32_t n, bool conditional, bool sloppy,
                         uint64_t *node)
{
    uint32_t nodes = ring_nodes(turn->ring);
    if (n > nodes) n = nodes;
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    if (!conditional && ring_is_home(turn->ring, vnode, n, turn->self.node)) {
        *node = turn->self.node;
        return true;
    }
    bool home_reached = false;
    for (uint32_t i = 0; i < (sloppy && !home_reached ? nodes : n); i++) {
        if (!peers_reachable(turn->peers, list[i])) continue;
        home_reached |= i < n;
        *node = list[i];
        if (turn_reaches(turn, (struct address){.node = list[i], .shard = vnode})) return true;
        if (conditional) return false; /* only who can't be reached is passed over: two would race */
    }
    return false;
}

static void coordinate(struct router *router, struct turn *turn, struct request *request, uint32_t index,
                       Dynode__Client__Operation *operation, uint32_t deadline_ms)
{
    const char *name;
    struct bytes key;
    uint32_t n = 0;
    bool conditional = false, write = true;
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET:
        name = operation->get->table;
        key = from_pb(operation->get->key);
        write = false;
        break;
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        name = operation->put->table;
        key = from_pb(operation->put->key);
        n = operation->put->n;
        conditional = operation->put->precondition != DYNODE__CLIENT__PRECONDITION__NONE;
        break;
    default:
        name = operation->delete_->table;
        key = from_pb(operation->delete_->key);
        n = operation->delete_->n;
        conditional = operation->delete_->precondition != DYNODE__CLIENT__PRECONDITION__NONE;
    }
    const struct table *table = cluster_find_table(turn->cluster, bytes_str(name));
    if (table == NULL) {
        add_result(turn, request, index, result_new(turn->arena, STATUS_NO_SUCH_TABLE, NULL));
        return;
    }
    if (n == 0 || n > table->n) n = table->n;
    uint32_t vnode = ring_vnode(turn->ring, hash64(key, table->tag));
    struct address to = {.node = write ? 0 : turn->self.node, .shard = vnode};
    struct wish wish = wish_of(operation);
    if (write && !write_target(turn, vnode, n, conditional, wish.sloppy, &to.node)) {
        bool full = to.node != 0;
        Dynode__Client__Result *result =
            full ? result_new(turn->arena, STATUS_OVERLOADED, "too much waits for the homes of the key")
                 : result_new(turn->arena, STATUS_UNAVAILABLE, "no home of the key can be reached");
        result->applied = DYNODE__CLIENT__APPLIED__NO;
        result->needed = wish_quorum(&wish, table->w, n);
        add_result(turn, request, index, result);
        return;
    }
    if (!turn_reaches(turn, to)) {
        Dynode__Client__Result *result =
            result_new(turn->arena, STATUS_OVERLOADED, "too much waits for the shard of the key");
        if (write) result->applied = DYNODE__CLIENT__APPLIED__NO;
        add_result(turn, request, index, result);
        return;
    }
    struct task *task = router_task(router, request, write ? TASK_WRITE : TASK_READ, index);
    bool keep = to.node != turn->self.node || turn->now_ns < router->doubt_until_ns;
    if (write && !conditional && keep && forward_begin(router, turn, task, operation, vnode, n, wish.sloppy))
        return;
    task->node = to.node;
    turn_owe(turn, to.node, 0);
    Dynode__Peer__Coordinate *message = ARENA_NEW(turn->arena, Dynode__Peer__Coordinate);
    dynode__peer__coordinate__init(message);
    message->operation = operation;
    message->deadline_ms = deadline_ms;
    turn_send(turn, to, task->id, DYNODE__PEER__MESSAGE__BODY_COORDINATE, message);
}

static void start(struct router *router, struct turn *turn, struct request *request, uint32_t index,
                  Dynode__Client__Operation *operation, uint32_t deadline_ms)
{
    const char *why;
    enum status status = operation_check(operation, &why);
    if (status != STATUS_OK) {
        add_result(turn, request, index, result_new(turn->arena, status, why));
        return;
    }
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET:
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
    case DYNODE__CLIENT__OPERATION__KIND_DELETE:
        coordinate(router, turn, request, index, operation, deadline_ms);
        return;
    default:
        break;
    }
    if (request->others == OPERATIONS_OTHER_MAX) { /* a few bytes each, and megabytes of answers */
        add_result(turn, request, index,
                   result_new(turn->arena, STATUS_INVALID,
                              "a request has at most 8 operations other than get, put and delete"));
        return;
    }
    request->others++;
    struct task *task = router_task(router, request, TASK_READ, index);
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_SCAN:
        router_scan(router, turn, task, operation->scan);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES:
        router_list_tables(router, turn, task);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO:
        router_cluster_info(router, turn, task);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_NODE_STATUS:
        router_node_status(router, turn, task);
        break;
    default:
        task->kind = TASK_WRITE;
        router_administer(router, turn, task, operation, deadline_ms);
    }
}

/* --- clients --- */

static struct connection *connection_of(struct router *router, struct turn *turn, uint64_t id)
{
    struct connection *connection = map_get(&router->connections, id);
    if (connection != NULL) return connection;
    connection = calloc(1, sizeof(*connection));
    CHECK(connection != NULL);
    connection->id = id;
    list_init(&connection->requests);
    map_put(&router->connections, id, connection);
    turn->counters->connections = router->connections.count;
    return connection;
}

/* Why the node takes no further operation now; STATUS_OK if it does. */
static enum status admit(const struct router *router, const struct connection *connection)
{
    if (router->draining) return STATUS_STOPPING;
    if (router->tasks.in_use >= router->options.operations_max) return STATUS_OVERLOADED;
    if (connection->in_flight > router->options.connection_operations_max) return STATUS_OVERLOADED;
    return STATUS_OK;
}

static Dynode__Client__Result *not_begun(struct turn *turn, const Dynode__Client__Operation *operation,
                                         enum status status)
{
    Dynode__Client__Result *result = result_new(turn->arena, status, NULL);
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT ||
        operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_DELETE)
        result->applied = DYNODE__CLIENT__APPLIED__NO;
    return result;
}

static void client_frame(struct actor *actor, struct turn *turn, uint64_t id, struct bytes payload)
{
    struct router *router = (struct router *)actor;
    Dynode__Client__Request *message;
    const char *why;
    if (request_unpack(payload, turn->arena, &message, &why) != STATUS_OK) {
        turn_hang_up(turn, id, why);
        return;
    }
    struct request *request = calloc(1, sizeof(*request));
    CHECK(request != NULL);
    struct connection *connection = connection_of(router, turn, id);
    request->connection = connection;
    request->id = message->id;
    request->pending = (uint32_t)message->n_operations;
    list_init(&request->tasks);
    list_append(&connection->requests, &request->link);
    connection->in_flight += request->pending;
    uint32_t deadline_ms = message->deadline_ms == 0 ? DEADLINE_MS_DEFAULT : message->deadline_ms;
    if (deadline_ms > DEADLINE_MS_MAX) deadline_ms = DEADLINE_MS_MAX;
    uint64_t deadline_ns = (uint64_t)deadline_ms * 1000000;
    bool expired = turn->waited_ns >= deadline_ns;
    uint64_t left_ns = expired ? 0 : deadline_ns - turn->waited_ns;
    request->deadline_ns = turn->now_ns + left_ns;
    request->deadline_timer =
        turn_arm(turn, &router->actor, request->deadline_ns, (uint64_t)(uintptr_t)request);
    deadline_ms = (uint32_t)((left_ns + 999999) / 1000000);
    /* The last result frees the request, and that may be in this loop: nothing of it is touched after its
     * operation. */
    uint32_t count = (uint32_t)message->n_operations;
    for (uint32_t i = 0; i < count; i++) {
        enum status status = expired ? STATUS_TIMEOUT : admit(router, connection);
        turn->counters->expired += expired;
        if (status != STATUS_OK)
            add_result(turn, request, i, not_begun(turn, message->operations[i], status));
        else
            start(router, turn, request, i, message->operations[i], deadline_ms);
    }
    turn->counters->in_flight = router->tasks.in_use;
}

static void client_closed(struct actor *actor, struct turn *turn, uint64_t id)
{
    struct router *router = (struct router *)actor;
    struct connection *connection = map_remove(&router->connections, id);
    if (connection == NULL) return;
    turn->counters->connections = router->connections.count;
    while (!list_empty(&connection->requests)) {
        struct request *request = LIST_OF(connection->requests.next, struct request, link);
        list_remove(&request->link);
        request->connection = NULL;
        turn->counters->results_bytes -= request->results.size;
        buffer_fini(&request->results);
    }
    free(connection);
}

/* --- time, peers, mail --- */

static Dynode__Client__Result *unknown_outcome(struct turn *turn, const struct task *task, enum status status,
                                               const char *why)
{
    Dynode__Client__Result *result = result_new(turn->arena, status, why);
    if (task->kind == TASK_WRITE)
        result->applied = task->forward.stage == FORWARD_OFFERED ? DYNODE__CLIENT__APPLIED__NO
                                                                 : DYNODE__CLIENT__APPLIED__MAYBE;
    result->needed = 1;
    return result;
}

/* The deadline of a request has passed: what it still waits for is answered TIMEOUT. */
static void timeout(struct actor *actor, struct turn *turn, uint64_t argument)
{
    struct router *router = (struct router *)actor;
    if (argument & 1) {
        forward_timeout(router, turn, (uint32_t)(argument >> 1));
        return;
    }
    struct request *request = (struct request *)(uintptr_t)argument;
    request->deadline_timer = 0;
    for (uint32_t pending = request->pending; pending > 0;
         pending--) { /* the last of them frees the request */
        CHECK(!list_empty(&request->tasks));
        struct task *task = LIST_OF(request->tasks.next, struct task, link);
        router_done(router, turn, task, unknown_outcome(turn, task, STATUS_TIMEOUT, NULL));
    }
}

/* What was sent to a node that is gone now: the outcome of a write is unknown. */
static void peer_changed(struct actor *actor, struct turn *turn, uint64_t node, bool reachable)
{
    struct router *router = (struct router *)actor;
    if (reachable) return;
    for (uint32_t i = 0; i < router->tasks.count; i++) {
        struct task *task = router->tasks.pool[i];
        if (task->kind == TASK_FREE) continue;
        if (task_is_forwarded(task)) {
            forward_lost(router, turn, task, node);
            continue;
        }
        if (task->node != node) continue;
        router_done(router, turn, task,
                    unknown_outcome(turn, task, STATUS_UNAVAILABLE, "the node that coordinated it was lost"));
    }
}

static void receive(struct actor *actor, struct turn *turn, const struct mail *mail)
{
    struct router *router = (struct router *)actor;
    switch (mail->kind) {
    case DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER:
        router_receive_scan(router, turn, mail);
        return;
    case DYNODE__PEER__MESSAGE__BODY_SHARD_REPORTED:
        router_receive_report(router, turn, mail);
        return;
    case DYNODE__PEER__MESSAGE__BODY_REPORT_SHARD:
        router_report_shard(router, turn, mail);
        return;
    case DYNODE__PEER__MESSAGE__BODY_READY:
        forward_ready(router, turn, mail);
        return;
    default:
        break;
    }
    struct task *task = tasks_find(&router->tasks, mail->request);
    Dynode__Client__Result *result = mail->kind == DYNODE__PEER__MESSAGE__BODY_COORDINATED
                                         ? ((const Dynode__Peer__Coordinated *)mail->body)->result
                                         : ((const Dynode__Peer__Administered *)mail->body)->result;
    if (task == NULL) return; /* it was answered at its deadline */
    if (task_is_forwarded(task)) {
        if (mail->kind == DYNODE__PEER__MESSAGE__BODY_COORDINATED) forward_answered(router, turn, task, mail);
        return;
    }
    if (mail->from.node != (task->node == 0 ? turn->self.node : task->node)) {
        turn->counters->invalid++;
        return;
    }
    if (result == NULL) result = unknown_outcome(turn, task, STATUS_INTERNAL, NULL);
    if (task->kind == TASK_WRITE && forward_may_go_on(result))
        router->doubt_until_ns = turn->now_ns + FORWARD_DOUBT_NS;
    router_done(router, turn, task, result);
}

static void check(const struct actor *actor)
{
    const struct router *router = (const struct router *)actor;
    for (uint32_t i = 0, left = router->tasks.in_use; left > 0; i++) { /* they are among the first */
        CHECK(i < router->tasks.count);
        const struct task *task = router->tasks.pool[i];
        if (task->kind == TASK_FREE) continue;
        left--;
        CHECK(task->request->pending > 0);
        CHECK(task->request->deadline_timer != 0);
    }
}

/* At the end of a shard: what is under way dies with it. */
static void free_router(struct actor *actor)
{
    struct router *router = (struct router *)actor;
    for (uint32_t i = 0; i < router->tasks.count; i++) {
        struct task *task = router->tasks.pool[i];
        if (task->kind == TASK_FREE) continue;
        struct request *request = task->request;
        tasks_give_back(&router->tasks, task);
        if (--request->pending > 0) continue;
        if (request->connection != NULL) list_remove(&request->link);
        router_report_free(request->report);
        buffer_fini(&request->results);
        free(request);
    }
    for (uint32_t i = 0; i < router->connections.capacity; i++)
        if (router->connections.keys[i] != 0) free(router->connections.values[i]);
    map_fini(&router->connections);
    tasks_fini(&router->tasks);
    free(router);
}

struct actor *router_add(struct shard *shard, const struct node_options *options, const struct hints *hints,
                         const struct copies *copies, const struct reap *reap, const struct proofs *proofs)
{
    static const Dynode__Peer__Message__BodyCase kinds[] = {
        DYNODE__PEER__MESSAGE__BODY_COORDINATED,  DYNODE__PEER__MESSAGE__BODY_ADMINISTERED,
        DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER,  DYNODE__PEER__MESSAGE__BODY_SHARD_REPORTED,
        DYNODE__PEER__MESSAGE__BODY_REPORT_SHARD, DYNODE__PEER__MESSAGE__BODY_READY,
    };
    struct router *router = calloc(1, sizeof(*router));
    CHECK(router != NULL);
    router->actor = (struct actor){.name = "router",
                                   .receive = receive,
                                   .timeout = timeout,
                                   .peer_changed = peer_changed,
                                   .client_frame = client_frame,
                                   .client_closed = client_closed,
                                   .check = check,
                                   .free = free_router};
    router->options = *options;
    router->hints = hints;
    router->copies = copies;
    router->reap = reap;
    router->proofs = proofs;
    router->tasks.generation = request_id_draw(shard_turn_context(shard)->prng);
    router->options.cluster = (struct cluster){0};
    shard_add_actor(shard, &router->actor, kinds, sizeof(kinds) / sizeof(kinds[0]));
    shard_set_client_actor(shard, &router->actor);
    return &router->actor;
}

void router_drain(struct actor *router)
{
    ((struct router *)router)->draining = true;
}

const struct copies *router_copies(const struct actor *actor)
{
    return ((const struct router *)actor)->copies;
}

const struct hints *router_hints(const struct actor *actor)
{
    return ((const struct router *)actor)->hints;
}

uint32_t router_in_flight(const struct actor *router)
{
    return ((const struct router *)router)->tasks.in_use;
}

const struct reap *router_reap(const struct actor *actor)
{
    return ((const struct router *)actor)->reap;
}
