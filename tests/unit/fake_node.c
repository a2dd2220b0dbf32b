#include "fake_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/prng.h"
#include "client.pb-c.h"
#include "wire/frame.h"

enum { CONNECTIONS_MAX = 64, HELD_MAX = 65536 };

struct held {
    uint8_t *frame;
    size_t size;
    int64_t due_ms;
    bool answers; /* an operation: it is in flight until then */
};

struct connection {
    int fd; /* -1: free */
    bool greeted;
    uint32_t shard;
    struct buffer in;
    struct held *held;
    uint32_t held_count;
    uint32_t in_flight;
};

struct server {
    struct fake_node *node;
    struct prng prng;
    struct connection connections[CONNECTIONS_MAX];
};

static const uint64_t fake_tag = 0x5eed;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static char *name_of(uint32_t index)
{
    return index == 1 ? "fake-with-a-name-that-is-longer-than-most" : "fake";
}

static void drop(struct connection *connection)
{
    if (connection->fd >= 0) close(connection->fd);
    for (uint32_t i = 0; i < connection->held_count; i++) free(connection->held[i].frame);
    free(connection->held);
    buffer_fini(&connection->in);
    *connection = (struct connection){.fd = -1};
}

static void write_all(struct server *server, struct connection *connection, const uint8_t *data, size_t size)
{
    while (size > 0 && connection->fd >= 0 && !server->node->mute) {
        size_t part =
            server->node->dribble && size > 3 ? 1 + prng_below(&server->prng, size < 50 ? size : 50) : size;
        ssize_t n = send(connection->fd, data, part, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return;
        data += n;
        size -= (size_t)n;
    }
}

static void hold(struct server *server, struct connection *connection, const ProtobufCMessage *message,
                 int delay_ms)
{
    bool answers = message->descriptor == &dynode__client__response__descriptor &&
                   ((const Dynode__Client__Response *)message)->n_results > 0;
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *frame = malloc(FRAME_HEADER_BYTES + size);
    CHECK(frame != NULL);
    frame_header(frame, size);
    protobuf_c_message_pack(message, frame + FRAME_HEADER_BYTES);
    if (server->node->flip != 0 && prng_chance(&server->prng, 1, server->node->flip)) {
        uint64_t flips = 1 + prng_below(&server->prng, 4);
        /* Half the time the length is left alone, so that what is behind it gets its share. */
        size_t from = prng_chance(&server->prng, 1, 2) ? 0 : FRAME_HEADER_BYTES;
        for (uint64_t i = 0; i < flips; i++)
            frame[from + prng_below(&server->prng, FRAME_HEADER_BYTES + size - from)] ^=
                (uint8_t)(1 << prng_below(&server->prng, 8));
    }
    CHECK(connection->held_count < HELD_MAX);
    connection->held = realloc(connection->held, (connection->held_count + 1) * sizeof(struct held));
    CHECK(connection->held != NULL);
    connection->held[connection->held_count++] =
        (struct held){frame, FRAME_HEADER_BYTES + size, now_ms() + delay_ms, answers};
}

static void flush_due(struct server *server, struct connection *connection)
{
    int64_t now = now_ms();
    uint32_t count = connection->held_count;
    for (uint32_t i = 0; i < count && connection->fd >= 0; i++) {
        uint32_t at = server->node->reverse ? count - 1 - i : i;
        struct held *held = &connection->held[at];
        if (held->frame == NULL || held->due_ms > now) continue;
        if (held->answers && connection->in_flight > 0) connection->in_flight--;
        write_all(server, connection, held->frame, held->size);
        free(held->frame);
        held->frame = NULL;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < connection->held_count; i++) {
        if (connection->held[i].frame != NULL) connection->held[kept++] = connection->held[i];
    }
    connection->held_count = kept;
}

static struct fake_record *record_of(struct fake_cluster *node, ProtobufCBinaryData key)
{
    for (uint32_t i = 0; i < node->record_count; i++) {
        struct fake_record *record = &node->records[i];
        if (record->key_size == key.len && memcmp(record->key, key.data, key.len) == 0) return record;
    }
    CHECK(node->record_count < FAKE_RECORDS_MAX);
    CHECK(key.len <= sizeof(node->records[0].key));
    struct fake_record *record = &node->records[node->record_count++];
    memcpy(record->key, key.data, key.len);
    record->key_size = key.len;
    return record;
}

static bool begins(const struct fake_record *record, const char *word, uint32_t *number)
{
    size_t size = strlen(word);
    if (record->key_size < size || memcmp(record->key, word, size) != 0) return false;
    if (number != NULL) *number = record->key_size > size + 1 ? (uint32_t)(record->key[size + 1] - '0') : 0;
    return true;
}

static uint64_t ring_version(const struct fake_cluster *cluster)
{
    return 100 + cluster->turn;
}

static void answer_info(struct server *server, struct connection *connection, uint64_t id, uint32_t operation)
{
    struct fake_cluster *cluster = server->node->cluster;
    Dynode__Client__Response response = DYNODE__CLIENT__RESPONSE__INIT;
    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT, *results = &result;
    Dynode__Client__ClusterDescription description = DYNODE__CLIENT__CLUSTER_DESCRIPTION__INIT;
    Dynode__Client__Member members[FAKE_NODES_MAX], *member_list[FAKE_NODES_MAX];
    Dynode__Client__TableInfo table = DYNODE__CLIENT__TABLE_INFO__INIT, *tables = &table;
    uint32_t lists[FAKE_VNODES * FAKE_NODES_MAX];
    uint32_t turn = cluster->turn;
    uint32_t first = server->node->astray ? 1 : 0, count = cluster->count - first;
    for (uint32_t i = 0; i < count; i++) {
        dynode__client__member__init(&members[i]);
        members[i].id = cluster->nodes[first + i]->id;
        members[i].name = name_of(first + i);
        members[i].client_address = cluster->nodes[first + i]->address;
        members[i].shards = FAKE_SHARDS;
        members[i].reachable = true;
        member_list[i] = &members[i];
    }
    for (uint32_t v = 0; v < FAKE_VNODES; v++) {
        for (uint32_t i = 0; i < count; i++) lists[v * count + i] = (v + turn + i) % count;
    }
    table.name = "t";
    table.rule = DYNODE__CLIENT__RULE__LWW;
    table.n = table.r = table.w = 1;
    table.tag = fake_tag;
    description.id = FAKE_CLUSTER;
    description.ring_version = 100 + turn;
    description.vnodes = FAKE_VNODES;
    const char *hash = server->node->hash;
    description.hash = (char *)(uintptr_t)(hash != NULL ? hash : HASH64_NAME);
    description.members = member_list;
    description.n_members = count;
    description.tables = &tables;
    description.n_tables = 1;
    description.preference_lists = lists;
    description.n_preference_lists = FAKE_VNODES * count;
    result.operation = operation;
    result.answer_case = DYNODE__CLIENT__RESULT__ANSWER_CLUSTER;
    result.cluster = &description;
    response.id = id;
    response.results = &results;
    response.n_results = 1;
    response.ring_version = 100 + turn;
    hold(server, connection, &response.base, 0);
    server->node->infos++;
}

/* Pages of two keys, or fewer if so asked; the cursor is the number of records seen. Every node claims the
 * records whose number is its own. */
static void answer_scan(struct server *server, struct connection *connection, uint64_t id, uint32_t index,
                        const Dynode__Client__Scan *scan)
{
    struct fake_cluster *cluster = server->node->cluster;
    Dynode__Client__Response response = DYNODE__CLIENT__RESPONSE__INIT;
    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT, *results = &result;
    Dynode__Client__ScanPage page = DYNODE__CLIENT__SCAN_PAGE__INIT;
    ProtobufCBinaryData keys[2];
    uint32_t at = 0;
    if (scan->cursor.len == sizeof(at)) memcpy(&at, scan->cursor.data, sizeof(at));
    uint32_t room = scan->limit == 1 ? 1 : 2;
    for (; at < cluster->record_count && page.count < room; at++) {
        struct fake_record *record = &cluster->records[at];
        if (!record->live || (scan->primary_only && at % cluster->count != server->node->index)) continue;
        keys[page.count++] = (ProtobufCBinaryData){.len = record->key_size, .data = record->key};
    }
    page.keys = keys;
    page.n_keys = scan->count_only ? 0 : page.count;
    if (at < cluster->record_count)
        page.cursor = (ProtobufCBinaryData){.len = sizeof(at), .data = (uint8_t *)&at};
    result.operation = index;
    result.answer_case = DYNODE__CLIENT__RESULT__ANSWER_SCAN;
    result.scan = &page;
    response.id = id;
    response.results = &results;
    response.n_results = 1;
    hold(server, connection, &response.base, 0);
}

/* False: the connection has ended, or the request goes without its answer. */
static bool answer(struct server *server, struct connection *connection, uint64_t id, uint32_t index,
                   const Dynode__Client__Operation *operation)
{
    struct fake_node *node = server->node;
    struct fake_cluster *cluster = node->cluster;
    node->operations++;
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO) {
        answer_info(server, connection, id, index);
        return true;
    }
    Dynode__Client__Response response = DYNODE__CLIENT__RESPONSE__INIT;
    Dynode__Client__Result result = DYNODE__CLIENT__RESULT__INIT, *results = &result;
    Dynode__Client__Sibling sibling = DYNODE__CLIENT__SIBLING__INIT, *siblings = &sibling;
    Dynode__Client__TableList list = DYNODE__CLIENT__TABLE_LIST__INIT;
    response.id = id;
    response.results = &results;
    response.n_results = 1;
    response.ring_version = ring_version(cluster);
    result.operation = index;
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES) {
        result.answer_case = DYNODE__CLIENT__RESULT__ANSWER_TABLES;
        result.tables = &list;
        hold(server, connection, &response.base, 0);
        return true;
    }
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE) {
        bool exists = strcmp(operation->create_table->table->name, "t") == 0;
        result.status = exists ? DYNODE__CLIENT__STATUS__TABLE_EXISTS : DYNODE__CLIENT__STATUS__OK;
        hold(server, connection, &response.base, 0);
        return true;
    }
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_NODE_STATUS) {
        Dynode__Client__NodeReport report = DYNODE__CLIENT__NODE_REPORT__INIT;
        Dynode__Client__ShardReport shard = DYNODE__CLIENT__SHARD_REPORT__INIT, *shards = &shard;
        report.node = node->id;
        report.name = name_of(server->node->index);
        shard.shard = 1;
        shard.gets = node->operations;
        report.shards = &shards;
        report.n_shards = 1;
        result.answer_case = DYNODE__CLIENT__RESULT__ANSWER_NODE;
        result.node = &report;
        hold(server, connection, &response.base, 0);
        return true;
    }
    if (operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_SCAN) {
        answer_scan(server, connection, id, index, operation->scan);
        return true;
    }
    bool put = operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_PUT;
    bool get = operation->kind_case == DYNODE__CLIENT__OPERATION__KIND_GET;
    ProtobufCBinaryData key = put ? operation->put->key : get ? operation->get->key : operation->delete_->key;
    uint64_t hash = hash64(bytes_of(key.data, key.len), fake_tag);
    uint32_t vnode = (uint32_t)(hash >> 58);
    uint32_t home = (vnode + cluster->turn) % cluster->count;
    if (home != node->index || vnode % FAKE_SHARDS + 1 != connection->shard) node->misrouted++;
    struct fake_record *record = record_of(cluster, key);
    record->tries++;
    node->tries++;
    uint32_t number;
    int delay_ms = node->reverse ? 5 : 0;
    if (begins(record, "hang", NULL)) return false;
    if (begins(record, "late", NULL)) delay_ms = 300;
    if (begins(record, "close", NULL)) {
        drop(connection);
        return false;
    }
    if (begins(record, "garbage", NULL)) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)prng_next(&server->prng);
        write_all(server, connection, bytes, sizeof(bytes));
        return false;
    }
    if (begins(record, "endless", NULL)) {
        static const uint8_t head[] = {0, 0x40, 0, 0};
        write_all(server, connection, head, sizeof(head));
        return false;
    }
    if (begins(record, "alien", NULL)) result.operation = index + 1000;
    if (begins(record, "gone", NULL)) response.id = id + 1000;
    if (begins(record, "short", NULL)) {
        response.n_results = 0;
        response.last = true;
        hold(server, connection, &response.base, 0);
        return false;
    }
    Dynode__Client__Precondition precondition =
        put ? operation->put->precondition : DYNODE__CLIENT__PRECONDITION__NONE;
    bool no = begins(record, "no", &number) && record->tries <= number;
    bool busy = !no && begins(record, "busy", &number) && record->tries <= number;
    if (no || begins(record, "maybe", NULL)) {
        result.status = DYNODE__CLIENT__STATUS__UNAVAILABLE;
        result.applied = no ? DYNODE__CLIENT__APPLIED__NO : DYNODE__CLIENT__APPLIED__MAYBE;
        result.got = 1;
        result.needed = 2;
    } else if (busy) {
        result.status = DYNODE__CLIENT__STATUS__OVERLOADED;
    } else if (precondition == DYNODE__CLIENT__PRECONDITION__IF_ABSENT && record->live) {
        result.status = DYNODE__CLIENT__STATUS__CONFLICT;
    } else if (put) {
        if (operation->put->context.len > 0) node->with_context++;
        free(record->value);
        record->value = malloc(operation->put->value.len + 1);
        CHECK(record->value != NULL);
        if (operation->put->value.len > 0)
            memcpy(record->value, operation->put->value.data, operation->put->value.len);
        record->value_size = operation->put->value.len;
        record->live = true;
        result.context = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"ctx"};
    } else if (!get) {
        record->live = false;
    } else if (!record->live) {
        result.status = DYNODE__CLIENT__STATUS__NOT_FOUND;
    } else {
        sibling.value = (ProtobufCBinaryData){.len = record->value_size, .data = record->value};
        sibling.written_ms = 1;
        result.siblings = &siblings;
        result.n_siblings = 1;
        for (int i = 0; i < 2 && begins(record, "parts", NULL); i++) {
            result.more = true;
            hold(server, connection, &response.base, 0);
        }
        if (begins(record, "half", NULL)) {
            result.more = true;
            hold(server, connection, &response.base, 0);
            flush_due(server, connection);
            drop(connection);
            return false;
        }
        static uint8_t flood[1 << 20];
        for (int i = 0; i < 12 && begins(record, "flood", NULL); i++) {
            result.more = true;
            result.n_siblings = 0;
            result.context = (ProtobufCBinaryData){.len = sizeof(flood), .data = flood};
            hold(server, connection, &response.base, 0);
        }
        result.more = false;
        result.n_siblings = 1;
        result.context = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"ctx"};
    }
    hold(server, connection, &response.base, delay_ms);
    return true;
}

static void take_request(struct server *server, struct connection *connection, struct bytes payload)
{
    Dynode__Client__Request *request = dynode__client__request__unpack(NULL, payload.size, payload.data);
    CHECK(request != NULL);
    CHECK(request->id != 0 && request->deadline_ms <= 60000);
    CHECK(request->n_operations >= 1 && request->n_operations <= 1024);
    server->node->requests++;
    uint32_t stall_at = server->node->stall_at;
    if (stall_at != 0 && server->node->operations + 1 >= stall_at) {
        server->node->stall_at = 0;
        usleep(server->node->stall_ms * 1000);
    }
    connection->in_flight += (uint32_t)request->n_operations;
    if (connection->in_flight > server->node->in_flight_most)
        server->node->in_flight_most = connection->in_flight;
    bool all = true;
    pthread_mutex_lock(&server->node->cluster->lock);
    for (size_t i = 0; i < request->n_operations && connection->fd >= 0; i++)
        all &= answer(server, connection, request->id, (uint32_t)i, request->operations[i]);
    pthread_mutex_unlock(&server->node->cluster->lock);
    if (all && connection->fd >= 0) {
        Dynode__Client__Response last = DYNODE__CLIENT__RESPONSE__INIT;
        last.id = request->id;
        last.last = true;
        last.ring_version = ring_version(server->node->cluster);
        /* Usually so late that all is answered before it; a benchmark reuses an id only after it. */
        if (!server->node->reverse) hold(server, connection, &last.base, server->node->prompt ? 0 : 400);
    }
    dynode__client__request__free_unpacked(request, NULL);
}

static void take_hello(struct server *server, struct connection *connection, struct bytes payload)
{
    Dynode__Client__ClientHello *hello =
        dynode__client__client_hello__unpack(NULL, payload.size, payload.data);
    CHECK(hello != NULL && hello->magic == CLIENT_HELLO_MAGIC && hello->version == 1);
    connection->shard = hello->shard == 0 ? 1 : (hello->shard - 1) % FAKE_SHARDS + 1;
    dynode__client__client_hello__free_unpacked(hello, NULL);
    connection->greeted = true;
    server->node->greeted[connection->shard - 1]++;
    Dynode__Client__ServerHello answer_ = DYNODE__CLIENT__SERVER_HELLO__INIT;
    answer_.version = 1;
    uint64_t claims = server->node->claims;
    answer_.cluster = claims != 0 ? claims : FAKE_CLUSTER;
    answer_.node = server->node->id;
    answer_.shard = connection->shard;
    answer_.shards = FAKE_SHARDS;
    answer_.ring_version = ring_version(server->node->cluster);
    answer_.requests_max = FAKE_REQUESTS_MAX;
    if (server->node->hello == FAKE_HELLO_BUSY) answer_.status = DYNODE__CLIENT__STATUS__OVERLOADED;
    if (server->node->hello == FAKE_HELLO_SILENT) return;
    if (server->node->hello == FAKE_HELLO_HTTP) {
        static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
        write_all(server, connection, (const uint8_t *)http, sizeof(http) - 1);
    } else if (server->node->hello == FAKE_HELLO_CLOSE) {
        drop(connection);
    } else {
        hold(server, connection, &answer_.base, 0);
        flush_due(server, connection);
    }
}

static void serve(struct server *server, struct connection *connection)
{
    uint8_t *to = buffer_reserve(&connection->in, 65536);
    ssize_t n = recv(connection->fd, to, 65536, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) drop(connection);
        return;
    }
    connection->in.size += (size_t)n;
    while (connection->fd >= 0) {
        struct bytes payload;
        size_t bytes;
        enum frame_state state =
            frame_next(buffer_bytes(&connection->in), FRAME_CLIENT_BYTES_MAX, &payload, &bytes);
        CHECK(state != FRAME_BAD);
        if (state == FRAME_PARTIAL) return;
        if (connection->greeted)
            take_request(server, connection, payload);
        else
            take_hello(server, connection, payload);
        if (connection->fd >= 0) buffer_consume(&connection->in, bytes);
    }
}

static void *run(void *argument)
{
    struct server *server = argument;
    struct fake_node *node = server->node;
    while (!node->stop) {
        struct pollfd fds[CONNECTIONS_MAX + 1];
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            fds[i] = (struct pollfd){.fd = server->connections[i].fd, .events = POLLIN};
        fds[CONNECTIONS_MAX] = (struct pollfd){.fd = node->listener, .events = POLLIN};
        poll(fds, CONNECTIONS_MAX + 1, 2);
        bool dropping = node->drop_all;
        for (int i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *connection = &server->connections[i];
            if (connection->fd < 0) continue;
            if (dropping) {
                /* What it still has to say comes right before the end, so that both arrive together. */
                for (uint32_t k = 0; k < connection->held_count; k++) connection->held[k].due_ms = 0;
                flush_due(server, connection);
                drop(connection);
            } else if (fds[i].revents != 0)
                serve(server, connection);
            if (connection->fd >= 0) flush_due(server, connection);
        }
        if (dropping) node->drop_all = false;
        if (fds[CONNECTIONS_MAX].revents == 0) continue;
        int fd = accept(node->listener, NULL, NULL);
        if (fd < 0) continue;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        node->connections++;
        struct connection *free_ = server->connections;
        while (free_->fd >= 0) free_++;
        CHECK(free_ < server->connections + CONNECTIONS_MAX);
        free_->fd = fd;
    }
    for (int i = 0; i < CONNECTIONS_MAX; i++) drop(&server->connections[i]);
    free(server);
    return NULL;
}

void fake_start(struct fake_node *node, struct fake_cluster *cluster, uint64_t seed)
{
    node->cluster = cluster;
    node->index = cluster->count;
    node->id = 0x1000 + cluster->count;
    cluster->nodes[cluster->count++] = node;
    if (cluster->records == NULL) {
        cluster->records = calloc(FAKE_RECORDS_MAX, sizeof(*cluster->records));
        CHECK(cluster->records != NULL);
        CHECK(pthread_mutex_init(&cluster->lock, NULL) == 0);
    }
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(in);
    node->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(node->listener, (struct sockaddr *)&in, sizeof(in)) == 0);
    CHECK(listen(node->listener, 64) == 0);
    CHECK(getsockname(node->listener, (struct sockaddr *)&in, &size) == 0);
    snprintf(node->address, sizeof(node->address), "tcp://127.0.0.1:%u", ntohs(in.sin_port));
    struct server *server = calloc(1, sizeof(*server));
    CHECK(server != NULL);
    server->node = node;
    prng_init(&server->prng, seed);
    for (int i = 0; i < CONNECTIONS_MAX; i++) server->connections[i].fd = -1;
    CHECK(pthread_create(&node->thread, NULL, run, server) == 0);
}

void fake_stop(struct fake_node *node)
{
    if (node->cluster == NULL) return;
    node->stop = true;
    pthread_join(node->thread, NULL);
    close(node->listener);
    *node = (struct fake_node){0};
}

void fake_forget(struct fake_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->record_count; i++) free(cluster->records[i].value);
    free(cluster->records);
    memset(cluster, 0, sizeof(*cluster));
}
