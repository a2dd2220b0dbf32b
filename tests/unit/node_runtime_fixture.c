#include "node_runtime_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "wire/frame.h"

enum { CLIENT_WAIT_SECONDS = 30, READ_BYTES = 65536, CONNECTION = 1 };

static void port_close(struct port *port)
{
    if (!port->open) return;
    uv_close((uv_handle_t *)&port->poll, NULL);
    close(port->fd);
    port->open = false;
    buffer_fini(&port->in);
}

static void port_ready(uv_poll_t *poll, int status, int events)
{
    struct port *port = poll->data;
    struct bytes payload;
    size_t bytes;
    (void)events;
    ssize_t got = status != 0 ? 0 : read(port->fd, buffer_reserve(&port->in, READ_BYTES), READ_BYTES);
    if (got <= 0) {
        shard_client_closed(loop_shard(port->loop), CONNECTION);
        port_close(port);
        return;
    }
    port->in.size += (size_t)got;
    while (frame_next(buffer_bytes(&port->in), FRAME_CLIENT_BYTES_MAX, &payload, &bytes) == FRAME_WHOLE) {
        shard_client_frame(loop_shard(port->loop), CONNECTION, payload);
        buffer_consume(&port->in, bytes);
    }
}

static void port_open(struct fixture *fixture, struct loop *loop, int fd)
{
    struct port *port = &fixture->ports[loop_index(loop)];
    port->loop = loop;
    port->fd = fd;
    port->poll.data = port;
    assert_int_equal(uv_poll_init(loop_uv(loop), &port->poll, fd), 0);
    assert_int_equal(uv_poll_start(&port->poll, UV_READABLE, port_ready), 0);
    port->open = true;
}

/* Shard 0 has all sockets at first, as a listening loop has, and hands the others theirs. */
static void on_start(void *context, struct loop *loop)
{
    struct fixture *fixture = context;
    if (loop_index(loop) != 0) return;
    port_open(fixture, loop, fixture->servers[0]);
    for (uint32_t to = 1; to < loop_shards(loop); to++)
        loop_pass_descriptor(loop, to, fixture->servers[to], bytes_str("facts"));
}

static void on_answers(void *context, struct loop *loop, const struct answer *answers, uint32_t count,
                       struct bytes bytes)
{
    struct fixture *fixture = context;
    struct port *port = &fixture->ports[loop_index(loop)];
    for (uint32_t i = 0; i < count && port->open; i++) {
        size_t sent = 0;
        while (sent < answers[i].size) { /* answers of the tests are small: the socket takes them */
            ssize_t put =
                send(port->fd, bytes.data + answers[i].offset + sent, answers[i].size - sent, MSG_NOSIGNAL);
            if (put < 0) break;
            sent += (size_t)put;
        }
        if (answers[i].hang_up != NULL) port_close(port);
    }
}

static void on_descriptor(void *context, struct loop *loop, int fd, struct bytes facts)
{
    struct fixture *fixture = context;
    assert_int_equal(fd, fixture->servers[loop_index(loop)]);
    assert_true(bytes_equal(facts, bytes_str("facts")));
    port_open(fixture, loop, fd);
}

static void on_restarted(void *context, struct loop *loop)
{
    struct fixture *fixture = context;
    port_close(&fixture->ports[loop_index(loop)]);
    atomic_fetch_add(&fixture->restarts, 1);
}

static void on_drain(void *context, struct loop *loop)
{
    struct fixture *fixture = context;
    (void)loop;
    atomic_fetch_add(&fixture->drained, 1);
}

static bool on_unsent(void *context, struct loop *loop)
{
    (void)context, (void)loop;
    return false;
}

static void on_stop(void *context, struct loop *loop)
{
    struct fixture *fixture = context;
    port_close(&fixture->ports[loop_index(loop)]);
}

void fixture_init(struct fixture *fixture, uint32_t shards, uint64_t node)
{
    *fixture = (struct fixture){.next_request = 1};
    snprintf(fixture->data, sizeof(fixture->data), "/tmp/dynode-node-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->data));
    fixture->cluster = (struct cluster){.id = 99, .vnodes = 64};
    struct member *self = &fixture->options.self;
    self->id = node;
    self->weight = RING_WEIGHT_DEFAULT;
    self->shards = shards;
    snprintf(self->name, sizeof(self->name), "node-%llu", (unsigned long long)node);
    fixture->options.data = fixture->data;
    fixture->options.store = (struct store_wt_options){
        .cache_bytes = 4 << 20, .checkpoint_log_bytes = 64 << 20, .checkpoint_seconds = 30};
    fixture->options.secret = context_secret_derive(bytes_of(NULL, 0), fixture->cluster.id);
    fixture->options.software = "test";
    fixture->options.operations_max = NODE_OPERATIONS_MAX_DEFAULT;
    fixture->options.connection_operations_max = NODE_CONNECTION_OPERATIONS_MAX_DEFAULT;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat, (void)type, (void)ftw;
    return remove(path);
}

void fixture_fini(struct fixture *fixture)
{
    cluster_fini(&fixture->cluster);
    nftw(fixture->data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fixture_start(struct fixture *fixture)
{
    char why[NODE_WHY_BYTES];
    fixture->options.hooks = (struct loop_hooks){.context = fixture,
                                                 .start = on_start,
                                                 .answers = on_answers,
                                                 .descriptor = on_descriptor,
                                                 .restarted = on_restarted,
                                                 .drain = on_drain,
                                                 .unsent = on_unsent,
                                                 .stop = on_stop};
    fixture->options.cluster = &fixture->cluster;
    for (uint32_t i = 0; i < fixture->options.self.shards; i++) {
        int pair[2];
        struct timeval wait = {.tv_sec = CLIENT_WAIT_SECONDS};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        fixture->ports[i] = (struct port){0};
        fixture->servers[i] = pair[0];
        fixture->clients[i] = pair[1];
    }
    if (node_runtime_start(&fixture->options, why, &fixture->node) != STATUS_OK) fail_msg("%s", why);
}

bool fixture_stop(struct fixture *fixture)
{
    bool quiet = node_runtime_stop(fixture->node);
    for (uint32_t i = 0; i < fixture->options.self.shards; i++) close(fixture->clients[i]);
    return quiet;
}

static bool read_all(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t got = read(fd, to, size);
        if (got <= 0) return false;
        to += got;
        size -= (size_t)got;
    }
    return true;
}

Dynode__Client__Response *fixture_call(struct fixture *fixture, uint32_t shard,
                                       Dynode__Client__Operation *operation)
{
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = fixture->next_request++;
    request.deadline_ms = 2000;
    request.operations = &operation;
    request.n_operations = 1;
    size_t size = dynode__client__request__get_packed_size(&request);
    uint8_t *frame = malloc(FRAME_HEADER_BYTES + size), header[FRAME_HEADER_BYTES];
    frame_header(frame, size);
    dynode__client__request__pack(&request, frame + FRAME_HEADER_BYTES);
    int fd = fixture->clients[shard];
    ssize_t put = send(fd, frame, FRAME_HEADER_BYTES + size, MSG_NOSIGNAL);
    free(frame);
    if (put != (ssize_t)(FRAME_HEADER_BYTES + size) || !read_all(fd, header, sizeof(header))) return NULL;
    size = get_be32(header);
    uint8_t *payload = malloc(size);
    bool whole = read_all(fd, payload, size);
    Dynode__Client__Response *response = whole ? dynode__client__response__unpack(NULL, size, payload) : NULL;
    free(payload);
    if (response == NULL) return NULL;
    assert_int_equal(response->id, request.id);
    assert_true(response->last);
    assert_int_equal(response->n_results, 1);
    return response;
}

static enum status finish(Dynode__Client__Response *response)
{
    if (response == NULL) return STATUS_INTERNAL;
    enum status status = (enum status)response->results[0]->status;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        printf("%s: %s\n", status_name(status), response->results[0]->message);
    dynode__client__response__free_unpacked(response, NULL);
    return status;
}

enum status fixture_create_table(struct fixture *fixture, const char *name, uint32_t n)
{
    Dynode__Client__TableInfo table = DYNODE__CLIENT__TABLE_INFO__INIT;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    table.name = (char *)(uintptr_t)name;
    table.n = table.r = table.w = n;
    create.table = &table;
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
    operation.create_table = &create;
    return finish(fixture_call(fixture, 0, &operation));
}

static ProtobufCBinaryData data_of(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size};
}

enum status fixture_put(struct fixture *fixture, uint32_t shard, const char *table, uint64_t key,
                        struct bytes value)
{
    uint8_t key_bytes[8];
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    put_be64(key_bytes, key);
    put.table = (char *)(uintptr_t)table;
    put.key = data_of(bytes_of(key_bytes, sizeof(key_bytes)));
    put.value = data_of(value);
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
    operation.put = &put;
    return finish(fixture_call(fixture, shard, &operation));
}

enum status fixture_get(struct fixture *fixture, uint32_t shard, const char *table, uint64_t key,
                        struct bytes value)
{
    uint8_t key_bytes[8];
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    Dynode__Client__Operation operation = DYNODE__CLIENT__OPERATION__INIT;
    put_be64(key_bytes, key);
    get.table = (char *)(uintptr_t)table;
    get.key = data_of(bytes_of(key_bytes, sizeof(key_bytes)));
    operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
    operation.get = &get;
    Dynode__Client__Response *response = fixture_call(fixture, shard, &operation);
    if (response != NULL && (enum status)response->results[0]->status == STATUS_OK) {
        const Dynode__Client__Result *result = response->results[0];
        assert_int_equal(result->n_siblings, 1);
        assert_true(
            bytes_equal(bytes_of(result->siblings[0]->value.data, result->siblings[0]->value.len), value));
    }
    return finish(response);
}
