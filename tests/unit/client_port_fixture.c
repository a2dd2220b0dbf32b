#include "client_port_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/config_value.h"
#include "wire/frame.h"

/* --- shards that echo, and loops that are pumped --- */

struct loop loops[SHARDS];
struct client_port *port;
struct loop_hooks hooks;
struct connection_limits limits;
const char *hang_up;

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}
struct shard *loop_shard(struct loop *loop)
{
    return &loop->shard;
}
uint32_t loop_index(const struct loop *loop)
{
    return loop->index;
}
uint32_t loop_shards(const struct loop *loop)
{
    (void)loop;
    return SHARDS;
}
void loop_pass_descriptor(struct loop *loop, uint32_t to, int fd, struct bytes facts)
{
    assert_int_not_equal(loop->index, to);
    assert_true(facts.size <= LOOP_FACTS_BYTES_MAX);
    hooks.descriptor(hooks.context, &loops[to], fd, facts);
}
void shard_client_frame(struct shard *shard, uint64_t connection, struct bytes payload)
{
    assert_true(shard->frame_count < FRAMES_MAX);
    shard->frames[shard->frame_count++] = (struct frame){connection, shard->mail.size, payload.size};
    buffer_append(&shard->mail, payload.data, payload.size);
}
void shard_client_closed(struct shard *shard, uint64_t connection)
{
    (void)connection;
    shard->closed++;
}
size_t shard_mail_bytes(const struct shard *shard)
{
    return shard->mail.size + shard->mail_bytes_extra;
}
struct counters *shard_counters(struct shard *shard)
{
    return &shard->counters;
}
struct turn *shard_turn_context(struct shard *shard)
{
    return &shard->turn;
}

/* Answer all mail with itself. */
static void serve(struct loop *loop)
{
    struct shard *shard = &loop->shard;
    if (shard->frame_count == 0 || shard->hold) return;
    uint32_t count = shard->frame_count * shard->repeat;
    struct answer *answers = calloc(count, sizeof *answers);
    struct buffer bytes = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct frame *frame = &shard->frames[i / shard->repeat];
        answers[i] =
            (struct answer){.connection = frame->connection, .offset = bytes.size, .hang_up = hang_up};
        frame_header(buffer_reserve(&bytes, FRAME_HEADER_BYTES), frame->size);
        bytes.size += FRAME_HEADER_BYTES;
        buffer_append(&bytes, shard->mail.data + frame->offset, frame->size);
        answers[i].size = bytes.size - answers[i].offset;
    }
    shard->frame_count = 0;
    buffer_clear(&shard->mail);
    hooks.answers(hooks.context, loop, answers, count, buffer_bytes(&bytes));
    free(answers);
    buffer_fini(&bytes);
}

void pump(void)
{
    for (int i = 0; i < SHARDS; i++) {
        uv_run(&loops[i].uv, UV_RUN_NOWAIT);
        serve(&loops[i]);
    }
}

void start(uint32_t connections_max)
{
    static const char *const any_port[] = {"tcp://127.0.0.1:0"};
    char why[256] = "";
    struct client_port_options options = {.addresses = any_port,
                                          .address_count = 1,
                                          .shards = SHARDS,
                                          .connections_max = connections_max,
                                          .connection_operations_max = 77,
                                          .cluster = 0xc1,
                                          .node = 0xa1,
                                          .software = "dynode test",
                                          .held_bytes_max = 24 * 1024 * 1024,
                                          .limits = limits};
    if (client_port_alloc(&options, why, sizeof why, &port) != STATUS_OK) fail_msg("%s", why);
    hooks = client_port_hooks(port);
    for (uint32_t i = 0; i < SHARDS; i++) {
        memset(&loops[i].shard, 0, sizeof loops[i].shard);
        loops[i].index = i;
        loops[i].shard.repeat = 1;
        assert_int_equal(uv_loop_init(&loops[i].uv), 0);
        hooks.start(hooks.context, &loops[i]);
    }
}

void stop(void)
{
    for (int i = 0; i < SHARDS; i++) {
        hooks.stop(hooks.context, &loops[i]);
        uv_run(&loops[i].uv, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&loops[i].uv), 0);
        assert_int_equal(loops[i].shard.counters.connections, 0);
        buffer_fini(&loops[i].shard.mail);
    }
    client_port_free(port);
    hang_up = NULL;
}

int set_up(void **state)
{
    (void)state;
    limits = CONNECTION_LIMITS;
    start(CONNECTIONS_MAX);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    stop();
    return 0;
}

void restart(void)
{
    stop();
    start(CONNECTIONS_MAX);
}

/* --- a client, whose waiting pumps the loops --- */

int dial(void)
{
    struct address_parts parts;
    assert_true(value_address(client_port_address(port, 0), &parts));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(parts.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

void put(int fd, const void *data, size_t size)
{
    const uint8_t *from = data;
    for (int idle = 0; size > 0;) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            from += sent, size -= (size_t)sent, idle = 0;
        else if (errno != EAGAIN)
            return; /* the other end has closed: what the test looks at next */
        else
            assert_true(++idle < 100000);
        pump();
    }
}

size_t take(int fd, void *data, size_t size)
{
    size_t got = 0;
    for (int i = 0; got < size; i++) {
        pump();
        ssize_t n = recv(fd, (uint8_t *)data + got, size - got, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) break;
        if (n > 0)
            got += (size_t)n, i = 0;
        else if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 2) == 0 && i > 5000)
            fail_msg("no answer");
    }
    return got;
}

void assert_ended(int fd)
{
    uint8_t byte;
    assert_int_equal(take(fd, &byte, 1), 0);
    close(fd);
}

size_t hello_pack(uint8_t *to, uint32_t magic, uint32_t version, uint32_t shard)
{
    Dynode__Client__ClientHello hello = DYNODE__CLIENT__CLIENT_HELLO__INIT;
    hello.magic = magic;
    hello.version = version;
    hello.shard = shard;
    hello.client = "test";
    size_t size = dynode__client__client_hello__pack(&hello, to + FRAME_HEADER_BYTES);
    frame_header(to, size);
    return FRAME_HEADER_BYTES + size;
}

Dynode__Client__Status take_hello(int fd, uint32_t *shard)
{
    uint8_t frame[FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX];
    assert_int_equal(take(fd, frame, FRAME_HEADER_BYTES), FRAME_HEADER_BYTES);
    size_t size = get_be32(frame);
    assert_true(size <= FRAME_HELLO_BYTES_MAX);
    assert_int_equal(take(fd, frame, size), size);
    Dynode__Client__ServerHello *hello = dynode__client__server_hello__unpack(NULL, size, frame);
    assert_non_null(hello);
    assert_int_equal(hello->node, 0xa1);
    assert_int_equal(hello->cluster, 0xc1);
    assert_int_equal(hello->shards, SHARDS);
    assert_int_equal(hello->requests_max, 77);
    Dynode__Client__Status status = hello->status;
    if (shard != NULL) *shard = hello->shard;
    dynode__client__server_hello__free_unpacked(hello, NULL);
    return status;
}

int dial_hello(uint32_t wanted)
{
    uint8_t hello[256];
    int fd = dial();
    put(fd, hello, hello_pack(hello, CLIENT_HELLO_MAGIC, 1, wanted));
    uint32_t shard;
    assert_int_equal(take_hello(fd, &shard), DYNODE__CLIENT__STATUS__OK);
    if (wanted != 0) assert_int_equal(shard, (wanted - 1) % SHARDS + 1);
    return fd;
}

void put_frame(int fd, const void *payload, size_t size)
{
    uint8_t header[FRAME_HEADER_BYTES];
    frame_header(header, size);
    put(fd, header, sizeof header);
    put(fd, payload, size);
}

void assert_echo(int fd, const void *payload, size_t size)
{
    uint8_t *got = malloc(FRAME_HEADER_BYTES + size);
    assert_int_equal(take(fd, got, FRAME_HEADER_BYTES + size), FRAME_HEADER_BYTES + size);
    assert_int_equal(get_be32(got), size);
    assert_memory_equal(got + FRAME_HEADER_BYTES, payload, size);
    free(got);
}

void keep_little(int fd)
{
    int bytes = 65536;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

void assert_alive(void)
{
    for (uint32_t shard = 1; shard <= SHARDS; shard++) {
        int fd = dial_hello(shard);
        put_frame(fd, "hello?", 6);
        assert_echo(fd, "hello?", 6);
        close(fd);
    }
}

void assert_none_left(void)
{
    for (int i = 0; loops[0].shard.counters.connections + loops[1].shard.counters.connections > 0; i++) {
        assert_true(i < 5000);
        pump();
        usleep(1000);
    }
}
