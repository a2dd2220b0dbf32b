/* Client port: a port of two shards whose loops and shards are played by this file, on one thread, against
 * what the world may send it. After each attack the port must be alive: a good client is served. */
#include "service/client_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config_value.h"
#include "base/log.h"
#include "wire/frame.h"

/* --- shards that echo, and loops that are pumped
 * ------------------------------------------------------------------- */

enum { SHARDS = 2, FRAMES_MAX = 20000 };

struct frame {
    uint64_t connection;
    size_t offset, size;
};

struct shard {
    struct counters counters;
    struct turn turn;
    struct buffer mail; /* what frames point into */
    struct frame frames[FRAMES_MAX];
    uint32_t frame_count;
    uint32_t closed; /* connections that it was told have gone */
    uint32_t repeat; /* answers to each frame */
    bool hold;       /* answer nothing for now */
    size_t mail_bytes_extra;
};

struct loop {
    uv_loop_t uv;
    uint32_t index;
    struct shard shard;
};

static struct loop loops[SHARDS];
static struct client_port *port;
static struct loop_hooks hooks;
static struct connection_limits limits;
static const char *hang_up; /* the echo's last word */

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

static void pump(void)
{
    for (int i = 0; i < SHARDS; i++) {
        uv_run(&loops[i].uv, UV_RUN_NOWAIT);
        serve(&loops[i]);
    }
}

static void start_at(const char *const *addresses, uint32_t address_count, uint32_t connections_max)
{
    char why[256] = "";
    struct client_port_options options = {.addresses = addresses,
                                          .address_count = address_count,
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

static void stop(void)
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

static const char *const any_port[] = {"tcp://127.0.0.1:0"};

static int set_up(void **state)
{
    (void)state;
    limits = CONNECTION_LIMITS;
    start_at(any_port, 1, 2000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop();
    return 0;
}

/* Anew, with what the test has put into `limits`. */
static void restart(void)
{
    stop();
    start_at(any_port, 1, 2000);
}

/* --- a client, whose waiting pumps the loops
 * ------------------------------------------------------------------------ */

static int dial(void)
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

static void put(int fd, const void *data, size_t size)
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

/* Wait for @size bytes; fewer only if the connection ends. */
static size_t take(int fd, void *data, size_t size)
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

static void assert_ended(int fd)
{
    uint8_t byte;
    assert_int_equal(take(fd, &byte, 1), 0);
    close(fd);
}

static size_t hello_pack(uint8_t *to, uint32_t magic, uint32_t version, uint32_t shard)
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

static Dynode__Client__Status take_hello(int fd, uint32_t *shard)
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

static int dial_hello(uint32_t wanted)
{
    uint8_t hello[256];
    int fd = dial();
    put(fd, hello, hello_pack(hello, CLIENT_HELLO_MAGIC, 1, wanted));
    uint32_t shard;
    assert_int_equal(take_hello(fd, &shard), DYNODE__CLIENT__STATUS__OK);
    if (wanted != 0) assert_int_equal(shard, (wanted - 1) % SHARDS + 1);
    return fd;
}

static void put_frame(int fd, const void *payload, size_t size)
{
    uint8_t header[FRAME_HEADER_BYTES];
    frame_header(header, size);
    put(fd, header, sizeof header);
    put(fd, payload, size);
}

static void assert_echo(int fd, const void *payload, size_t size)
{
    uint8_t *got = malloc(FRAME_HEADER_BYTES + size);
    assert_int_equal(take(fd, got, FRAME_HEADER_BYTES + size), FRAME_HEADER_BYTES + size);
    assert_int_equal(get_be32(got), size);
    assert_memory_equal(got + FRAME_HEADER_BYTES, payload, size);
    free(got);
}

/* The kernel shall not read for the client: it may keep 32 MB. */
static void keep_little(int fd)
{
    int bytes = 65536;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

/* A good client is served by either shard, and goes. */
static void assert_alive(void)
{
    for (uint32_t shard = 1; shard <= SHARDS; shard++) {
        int fd = dial_hello(shard);
        put_frame(fd, "hello?", 6);
        assert_echo(fd, "hello?", 6);
        close(fd);
    }
}

/* Until the port holds no connection. */
static void assert_none_left(void)
{
    for (int i = 0; loops[0].shard.counters.connections + loops[1].shard.counters.connections > 0; i++) {
        assert_true(i < 5000);
        pump();
        usleep(1000);
    }
}

/* --- what is promised
 * ----------------------------------------------------------------------------------------------- */

static void a_client_is_served_by_the_shard_it_names(void **state)
{
    (void)state;
    for (uint32_t wanted = 0; wanted <= 5; wanted++) {
        int fd = dial_hello(wanted);
        put_frame(fd, "abc", 3);
        assert_echo(fd, "abc", 3);
        close(fd);
    }
    assert_none_left();
    assert_int_equal(loops[0].shard.closed + loops[1].shard.closed, 6);
}

/* Clients that name no shard are spread. */
static void the_next_shard_takes_its_turn(void **state)
{
    (void)state;
    int fds[8];
    for (int i = 0; i < 8; i++) fds[i] = dial_hello(0);
    assert_int_equal(loops[0].shard.counters.connections, 4);
    assert_int_equal(loops[1].shard.counters.connections, 4);
    for (int i = 0; i < 8; i++) close(fds[i]);
}

/* Hello and requests in one packet, for either shard: what was read behind the hello goes along. */
static void requests_behind_the_hello_are_not_lost(void **state)
{
    (void)state;
    for (uint32_t shard = 1; shard <= 2; shard++) {
        for (size_t cut = 1; cut < 40; cut += 3) {
            uint8_t all[512];
            size_t size = hello_pack(all, CLIENT_HELLO_MAGIC, 1, shard);
            for (int i = 0; i < 3; i++, size += 9) {
                frame_header(all + size, 5);
                memcpy(all + size + 4, "abcde", 5);
            }
            int fd = dial();
            put(fd, all, cut);
            put(fd, all + cut, size - cut);
            assert_int_equal(take_hello(fd, NULL), DYNODE__CLIENT__STATUS__OK);
            for (int i = 0; i < 3; i++) assert_echo(fd, "abcde", 5);
            close(fd);
        }
    }
}

static void frames_of_every_size_pass(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,      2,      255,    256,     65536,
                                   262139, 262140, 262141, 1048576, FRAME_CLIENT_BYTES_MAX};
    uint8_t *payload = malloc(FRAME_CLIENT_BYTES_MAX);
    for (size_t i = 0; i < FRAME_CLIENT_BYTES_MAX; i++) payload[i] = (uint8_t)(i * 31 >> 3);
    int fd = dial_hello(2);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_frame(fd, payload, sizes[i]);
        assert_echo(fd, payload, sizes[i]);
    }
    close(fd);
    free(payload);
}

/* Many clients at once, their answers interleaved. */
static void pipelined_answers_reach_their_own_clients(void **state)
{
    (void)state;
    enum { CLIENTS = 40, EACH = 100 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) fds[i] = dial_hello(0);
    loops[0].shard.hold = loops[1].shard.hold = true;
    for (int k = 0; k < EACH; k++) {
        for (int i = 0; i < CLIENTS; i++) {
            uint8_t mine[2] = {(uint8_t)i, (uint8_t)k};
            put_frame(fds[i], mine, 2);
        }
    }
    loops[0].shard.hold = loops[1].shard.hold = false;
    for (int i = 0; i < CLIENTS; i++) {
        for (int k = 0; k < EACH; k++) {
            uint8_t mine[2] = {(uint8_t)i, (uint8_t)k};
            assert_echo(fds[i], mine, 2);
        }
        close(fds[i]);
    }
}

/* More than the sockets take, in pieces that lie apart: what is not taken is kept whole and in order. */
static void interleaved_answers_larger_than_the_sockets_arrive_whole(void **state)
{
    (void)state;
    enum { EACH = 40, SIZE = 80000, REPEAT = 2 };
    int fds[2];
    uint8_t *payload = malloc(SIZE);
    loops[0].shard.hold = true;
    loops[0].shard.repeat = REPEAT;
    for (int i = 0; i < 2; i++) keep_little(fds[i] = dial_hello(1));
    for (int k = 0; k < EACH; k++) {
        for (int i = 0; i < 2; i++) {
            memset(payload, i * 100 + k, SIZE);
            put_frame(fds[i], payload, SIZE);
        }
    }
    while (loops[0].shard.frame_count < 2 * EACH) pump();
    loops[0].shard.hold = false;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < EACH * REPEAT; k++) {
            memset(payload, i * 100 + k / REPEAT, SIZE);
            assert_echo(fds[i], payload, SIZE);
        }
        close(fds[i]);
    }
    free(payload);
}

static void an_answer_that_hangs_up_arrives_and_is_the_last(void **state)
{
    (void)state;
    hang_up = "the test says so";
    int fd = dial_hello(1);
    put_frame(fd, "a", 1);
    put_frame(fd, "b", 1);
    assert_echo(fd, "a", 1);
    assert_ended(fd);
    hang_up = NULL;
    assert_none_left();
    assert_int_equal(loops[0].shard.closed, 1);
    assert_alive();
}

/* --- bad hellos
 * ----------------------------------------------------------------------------------------------------- */

static void no_hello_ends_in_time(void **state)
{
    (void)state;
    limits.hello_ms = 40;
    restart();
    uint8_t hello[256];
    hello_pack(hello, CLIENT_HELLO_MAGIC, 1, 0);
    for (size_t size = 0; size <= 7; size++) { /* nothing; 1 to 7 bytes of a good hello */
        int fd = dial();
        put(fd, hello, size);
        assert_ended(fd);
    }
    assert_alive();
    assert_none_left();
}

static void other_protocols_are_ended(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t size;
    } others[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11},
        {"*1\r\n$4\r\nPING\r\n", 14},
        {"\0\0\0\0", 4},
        {"\0\0\0\x05zzzzz", 9},
        {"\0\0\0\x01\0", 5},
        {"\0\0\x04\x01", 4}, /* 1,025 */
        {"\xff\xff\xff\xff", 4},
        {"\x80\0\0\0", 4},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        int fd = dial();
        put(fd, others[i].data, others[i].size);
        assert_ended(fd);
    }
    uint8_t hello[256];
    int fd = dial();
    put(fd, hello, hello_pack(hello, 0x64796e70, 1, 0));
    assert_ended(fd);
    assert_alive();
}

static void another_version_is_told(void **state)
{
    (void)state;
    uint8_t hello[256];
    int fd = dial();
    put(fd, hello, hello_pack(hello, CLIENT_HELLO_MAGIC, 2, 0));
    put_frame(fd, "ignored", 7);
    assert_int_equal(take_hello(fd, NULL), DYNODE__CLIENT__STATUS__WRONG_VERSION);
    assert_ended(fd);
    assert_int_equal(loops[0].shard.frame_count + loops[1].shard.frame_count, 0);
    assert_alive();
}

/* A reset before, during and after the hello and amid a request, as seen by the port at once or later. */
static void resets_are_survived(void **state)
{
    (void)state;
    uint8_t bytes[512];
    size_t hello = hello_pack(bytes, CLIENT_HELLO_MAGIC, 1, 0);
    memcpy(bytes + hello, "\0\0\0\x05xxxxx", 9);
    for (size_t size = 0; size <= hello + 9; size++) {
        int fd = dial();
        if (size % 2 == 0) pump();
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        assert_int_equal(sent, size);
        if (size % 3 == 0) pump();
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fd);
        pump();
    }
    assert_alive();
    assert_none_left();
}

static void half_open_connections_give_way(void **state)
{
    (void)state;
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t before = files.rlim_cur;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int count = files.rlim_cur >= 2500 ? 1000 : (int)(files.rlim_cur / 3);
    limits.hello_ms = 300;
    restart();
    int *fds = calloc((size_t)count, sizeof *fds);
    for (int i = 0; i < count; i++) {
        fds[i] = dial();
        if (i % 32 == 0) pump();
    }
    assert_alive();
    for (int i = 0; i < count; i++) assert_ended(fds[i]);
    free(fds);
    assert_none_left();
    assert_alive();
    files.rlim_cur = before;
    setrlimit(RLIMIT_NOFILE, &files);
}

static void one_too_many_is_told_so(void **state)
{
    (void)state;
    stop();
    start_at(any_port, 1, 3);
    int fds[3];
    for (int i = 0; i < 3; i++) fds[i] = dial_hello(0);
    int fd = dial();
    assert_int_equal(take_hello(fd, NULL), DYNODE__CLIENT__STATUS__OVERLOADED);
    assert_ended(fd);
    close(fds[0]);
    for (int i = 0; i < 20; i++) pump();
    fd = dial_hello(0); /* there is room again */
    close(fd);
    close(fds[1]);
    close(fds[2]);
}

/* Without descriptors the port waits, and goes on when there are some. */
static void running_out_of_descriptors_is_survived(void **state)
{
    (void)state;
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    int fd = dial();
    int next = dup(fd);
    struct rlimit none = {.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 50; i++) pump();
    assert_int_equal(loops[0].shard.counters.connections, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    uint8_t hello[256];
    put(fd, hello, hello_pack(hello, CLIENT_HELLO_MAGIC, 1, 0));
    assert_int_equal(take_hello(fd, NULL), DYNODE__CLIENT__STATUS__OK);
    close(fd);
}

/* --- bad frames
 * ----------------------------------------------------------------------------------------------------- */

static void lengths_out_of_range_end_the_connection(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {
        0, FRAME_CLIENT_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t header[FRAME_HEADER_BYTES];
        int fd = dial_hello((uint32_t)i % 2 + 1);
        put_frame(fd, "ok", 2);
        assert_echo(fd, "ok", 2);
        frame_header(header, lengths[i]);
        put(fd, header, sizeof header);
        assert_ended(fd);
    }
    assert_alive();
}

static void an_unfinished_frame_ends_in_time(void **state)
{
    (void)state;
    limits.frame_ms = 60;
    restart();
    for (size_t claim = 1; claim <= 100000; claim += 33333) {
        uint8_t *data = calloc(1, FRAME_HEADER_BYTES + claim);
        frame_header(data, claim);
        int fd = dial_hello(2);
        put(fd, data, FRAME_HEADER_BYTES + claim - 1);
        assert_ended(fd);
        free(data);
    }
    int idle = dial_hello(1); /* between frames there is no bound */
    for (int i = 0; i < 200; i++) {
        pump();
        usleep(1000);
    }
    put_frame(idle, "still here", 10);
    assert_echo(idle, "still here", 10);
    close(idle);
    assert_alive();
}

/* A claim alone must cost nothing: memory follows what arrived. */
static void a_claim_costs_no_memory(void **state)
{
    (void)state;
    enum { CLIENTS = 60 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        uint8_t header[FRAME_HEADER_BYTES + 1] = {0};
        frame_header(header, FRAME_CLIENT_BYTES_MAX);
        fds[i] = dial_hello(1);
        put(fds[i], header, sizeof header);
    }
    /* 60 claims of 4 MiB are ten times what this port may hold for all (24 MiB): none was ended for it. */
    put_frame(fds[0], "", 0); /* bytes of the claimed frame, like any */
    for (int i = 0; i < CLIENTS; i++) {
        uint8_t byte;
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
        close(fds[i]);
    }
    assert_alive();
}

/* What is held for all clients of a shard is bounded; who asks for more is ended, the others are not. */
static void unfinished_frames_together_are_bounded(void **state)
{
    (void)state;
    enum { CLIENTS = 16, PART = 3 * 1024 * 1024 };
    uint8_t *part = calloc(1, PART);
    frame_header(part, FRAME_CLIENT_BYTES_MAX);
    int fds[CLIENTS], ended = 0;
    int good = dial_hello(1);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial_hello(1);
        put(fds[i], part, PART);
    }
    for (int i = 0; i < CLIENTS; i++) {
        uint8_t byte;
        ssize_t n = recv(fds[i], &byte, 1, MSG_DONTWAIT);
        if (n == 0 || errno != EAGAIN) ended++;
        close(fds[i]);
    }
    assert_true(ended > 0);
    assert_true(ended < CLIENTS);
    put_frame(good, "good", 4);
    assert_echo(good, "good", 4);
    close(good);
    free(part);
}

static void one_byte_at_a_time_is_served(void **state)
{
    (void)state;
    uint8_t bytes[512];
    size_t size = hello_pack(bytes, CLIENT_HELLO_MAGIC, 1, 2);
    memcpy(bytes + size, "\0\0\0\x03xyz", 7);
    int fd = dial();
    for (size_t i = 0; i < size + 7; i++) put(fd, bytes + i, 1);
    assert_int_equal(take_hello(fd, NULL), DYNODE__CLIENT__STATUS__OK);
    assert_echo(fd, "xyz", 3);
    close(fd);
}

/* --- clients that do not read
 * --------------------------------------------------------------------------------------- */

/* Requests pile up in the client's own socket, not in the node; when it reads, nothing was lost. */
static void a_client_that_does_not_read_is_not_read(void **state)
{
    (void)state;
    enum { FRAME = 16384 };
    uint8_t payload[FRAME];
    int fd = dial_hello(1);
    keep_little(fd);
    memset(payload, 'x', sizeof payload);
    loops[0].shard.repeat = 4;
    uint8_t frame[FRAME_HEADER_BYTES + FRAME];
    frame_header(frame, FRAME);
    memcpy(frame + FRAME_HEADER_BYTES, payload, FRAME);
    size_t sent = 0;
    for (int idle = 0; idle < 200;) { /* until nothing moves */
        size_t at = sent % sizeof frame;
        ssize_t n = send(fd, frame + at, sizeof frame - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n, idle = 0;
        else
            assert_int_equal(errno, EAGAIN), idle++;
        pump();
        assert_true(sent < 200 * 1024 * 1024);
    }
    assert_int_equal(loops[0].shard.closed, 0);
    for (size_t i = 0; i < sent / sizeof frame * 4; i++) assert_echo(fd, payload, FRAME);
    close(fd);
    loops[0].shard.repeat = 1;
    assert_alive();
}

static void a_client_that_never_reads_is_ended(void **state)
{
    (void)state;
    limits.write_ms = 100;
    restart();
    uint8_t payload[8192] = {0};
    loops[0].shard.repeat = 8;
    int fd = dial_hello(1);
    keep_little(fd);
    uint8_t frame[FRAME_HEADER_BYTES + sizeof payload] = {0};
    frame_header(frame, sizeof payload);
    size_t sent = 0;
    for (int i = 0; loops[0].shard.closed == 0; i++) {
        size_t at = sent % sizeof frame;
        ssize_t n = send(fd, frame + at, sizeof frame - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else
            usleep(1000);
        pump();
        assert_true(i < 100000);
    }
    close(fd);
    loops[0].shard.repeat = 1;
    assert_alive();
    assert_none_left();
}

/* Thousands of answers for a client that reads none: ended at the bound, which is far below what it asked
 * for. */
static void too_many_unsent_answers_end_the_connection(void **state)
{
    (void)state;
    limits.unsent_bytes_max = 4 * 1024 * 1024;
    restart();
    uint8_t payload[4096] = {0};
    loops[0].shard.repeat = 5000; /* 20 MB at once */
    int fd = dial_hello(1);
    keep_little(fd);
    put_frame(fd, payload, sizeof payload);
    for (int i = 0; loops[0].shard.closed == 0; i++) {
        pump();
        usleep(100);
        assert_true(i < 10000);
    }
    close(fd);
    loops[0].shard.repeat = 1;
    assert_alive();
}

/* While the shard has mail enough its clients wait in their sockets. */
static void a_busy_shard_reads_no_more(void **state)
{
    (void)state;
    int fd = dial_hello(2);
    loops[1].shard.mail_bytes_extra = 9 * 1024 * 1024;
    put_frame(fd, "later", 5);
    for (int i = 0; i < 20; i++) pump();
    assert_int_equal(loops[1].shard.frame_count, 0);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    loops[1].shard.mail_bytes_extra = 0;
    assert_echo(fd, "later", 5);
    close(fd);
}

/* --- the node's own life
 * ---------------------------------------------------------------------------------------------- */

static void draining_accepts_no_more_and_serves_the_rest(void **state)
{
    (void)state;
    int fd = dial_hello(2), late = dial();
    pump();
    for (int i = 0; i < SHARDS; i++) hooks.drain(hooks.context, &loops[i]);
    put_frame(fd, "served", 6);
    assert_echo(fd, "served", 6);
    uint8_t hello[256];
    put(late, hello, hello_pack(hello, CLIENT_HELLO_MAGIC, 1, 0));
    assert_int_equal(take_hello(late, NULL), DYNODE__CLIENT__STATUS__STOPPING);
    assert_ended(late);
    struct address_parts parts;
    assert_true(value_address(client_port_address(port, 0), &parts));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(parts.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(refused, (struct sockaddr *)&to, sizeof to), -1);
    close(refused);
    close(fd);
}

static void a_lost_shard_loses_its_clients_only(void **state)
{
    (void)state;
    int first = dial_hello(1), second = dial_hello(2);
    put_frame(first, "1", 1);
    assert_echo(first, "1", 1);
    hooks.restarted(hooks.context, &loops[0]);
    assert_ended(first);
    assert_int_equal(loops[0].shard.closed, 0);
    put_frame(second, "2", 1);
    assert_echo(second, "2", 1);
    close(second);
    assert_alive();
}

static void addresses_that_cannot_be_had_are_told(void **state)
{
    (void)state;
    char why[256] = "", path[64], taken[96], expected[256];
    struct client_port *second;
    const char *const addresses[] = {taken};
    struct client_port_options options = {
        .addresses = addresses, .address_count = 1, .shards = 1, .connections_max = 1, .limits = limits};
    snprintf(taken, sizeof taken, "%s", client_port_address(port, 0));
    assert_int_equal(client_port_alloc(&options, why, sizeof why, &second), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: cannot listen: the port is in use by another process", taken);
    assert_string_equal(why, expected);

    /* A unix socket: served, in use, left behind, and a plain file that must be left alone. */
    snprintf(path, sizeof path, "/tmp/dynode-port-%d", (int)getpid());
    snprintf(taken, sizeof taken, "unix://%s", path);
    struct client_port *unix_port;
    assert_int_equal(client_port_alloc(&options, why, sizeof why, &unix_port), STATUS_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(client_port_alloc(&options, why, sizeof why, &second), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: cannot listen: the socket is in use by another process", taken);
    assert_string_equal(why, expected);
    client_port_free(unix_port);
    assert_int_equal(stat(path, &st), -1);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path) + 1);
    int left = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(left, (struct sockaddr *)&at, sizeof at), 0);
    close(left);
    assert_int_equal(client_port_alloc(&options, why, sizeof why, &unix_port), STATUS_OK);
    client_port_free(unix_port);
    FILE *file = fopen(path, "w");
    fclose(file);
    assert_int_equal(client_port_alloc(&options, why, sizeof why, &second), STATUS_INVALID);
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(a_client_is_served_by_the_shard_it_names),
        TEST(the_next_shard_takes_its_turn),
        TEST(requests_behind_the_hello_are_not_lost),
        TEST(frames_of_every_size_pass),
        TEST(pipelined_answers_reach_their_own_clients),
        TEST(interleaved_answers_larger_than_the_sockets_arrive_whole),
        TEST(an_answer_that_hangs_up_arrives_and_is_the_last),
        TEST(no_hello_ends_in_time),
        TEST(other_protocols_are_ended),
        TEST(another_version_is_told),
        TEST(resets_are_survived),
        TEST(half_open_connections_give_way),
        TEST(one_too_many_is_told_so),
        TEST(running_out_of_descriptors_is_survived),
        TEST(lengths_out_of_range_end_the_connection),
        TEST(an_unfinished_frame_ends_in_time),
        TEST(a_claim_costs_no_memory),
        TEST(unfinished_frames_together_are_bounded),
        TEST(one_byte_at_a_time_is_served),
        TEST(a_client_that_does_not_read_is_not_read),
        TEST(a_client_that_never_reads_is_ended),
        TEST(too_many_unsent_answers_end_the_connection),
        TEST(a_busy_shard_reads_no_more),
        TEST(draining_accepts_no_more_and_serves_the_rest),
        TEST(a_lost_shard_loses_its_clients_only),
        TEST(addresses_that_cannot_be_had_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
