/* Peer links between two ends in this process: what gets in, what arrives, and what a stranger can do. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/prng.h"
#include "runtime/inbound.h"
#include "runtime/links.h"

enum { CLUSTER = 77, VNODES = 64, HERE = 11, THERE = 22, STRANGER = 33, SHARDS = 2, WAIT_MS = 30000 };

static const uint64_t WAIT_NS = WAIT_MS * 1000000ull;

/* --- the accepting end: node HERE with two shards --- */

/* A shard's thread: it reads the links that it is lent. */
struct reader {
    struct here *here;
    uint32_t shard;
    pthread_t thread;
    atomic_bool stop, hold;
    atomic_bool stuck; /* it does not look into its mailbox */

    /* What must come: batches of this stream, each at most so large. Set before any is sent. */
    struct prng expected;
    atomic_size_t bytes_max; /* set last */
    atomic_uint_fast64_t got;
    atomic_uint_fast64_t beats; /* frames on links for heartbeats */
    atomic_bool wrong;
};

struct here {
    struct mailbox *mailboxes[SHARDS];
    struct acceptor *acceptor;
    char address[128];
    uint32_t silence_ms, frame_ms;
    struct reader readers[SHARDS];
};

static void make_batch(struct prng *prng, size_t bytes_max, uint64_t number, struct buffer *batch)
{
    uint8_t head[8];
    size_t size = (size_t)prng_below(prng, bytes_max + 1);
    put_be64(head, number);
    buffer_append(batch, head, sizeof(head));
    memset(buffer_reserve(batch, size), (int)(number * 13 & 0xff), size);
    batch->size += size;
}

static void reader_frame(void *context, uint64_t node, bool beats, struct bytes payload)
{
    struct reader *reader = context;
    struct buffer batch = {0};
    if (beats) {
        atomic_fetch_add(&reader->beats, 1);
        return;
    }
    size_t bytes_max = atomic_load(&reader->bytes_max);
    make_batch(&reader->expected, bytes_max, atomic_load(&reader->got), &batch);
    if (node != THERE || !bytes_equal(payload, buffer_bytes(&batch))) atomic_store(&reader->wrong, true);
    buffer_fini(&batch);
    atomic_fetch_add(&reader->got, 1);
}

static bool reader_room(void *context, bool beats)
{
    return beats || !atomic_load(&((struct reader *)context)->hold);
}

static void *read_all(void *argument)
{
    struct reader *reader = argument;
    struct mailbox *mailbox = reader->here->mailboxes[reader->shard];
    struct parcel parcel;
    uv_loop_t uv;
    uv_loop_init(&uv);
    struct inbound *inbound = inbound_start(&(struct inbound_options){.uv = &uv,
                                                                      .acceptor = reader->here->acceptor,
                                                                      .context = reader,
                                                                      .silence_ms = reader->here->silence_ms,
                                                                      .frame_ms = reader->here->frame_ms,
                                                                      .frame = reader_frame,
                                                                      .room = reader_room});
    while (!atomic_load(&reader->stop)) {
        while (!atomic_load(&reader->stuck) && mailbox_take(mailbox, SHARDS, &parcel)) {
            inbound_add(inbound, parcel.link);
            nng_msg_free(parcel.msg);
        }
        if (reader_room(reader, false)) inbound_resume(inbound);
        uv_run(&uv, UV_RUN_NOWAIT);
        usleep(200);
    }
    inbound_stop(inbound);
    while (uv_run(&uv, UV_RUN_DEFAULT) != 0) continue;
    inbound_free(inbound);
    uv_loop_close(&uv);
    return NULL;
}

static void here_start(struct here *here, const char *address)
{
    for (int i = 0; i < SHARDS; i++)
        assert_int_equal(mailbox_alloc(SHARDS + 1, &here->mailboxes[i]), STATUS_OK);
    char why[256] = "";
    const struct acceptor_options options = {
        .address = address,
        .self = hello_of(CLUSTER, VNODES, HERE, 1),
        .shards = SHARDS,
        .mailboxes = here->mailboxes,
    };
    enum status status = acceptor_start(&options, why, sizeof(why), &here->acceptor);
    if (status != STATUS_OK) fail_msg("%s", why);
    const uint64_t members[] = {HERE, THERE};
    acceptor_set_members(here->acceptor, members, 2);
    snprintf(here->address, sizeof(here->address), "%s", address);
    if (acceptor_port(here->acceptor) != 0)
        snprintf(here->address, sizeof(here->address), "tcp://127.0.0.1:%u", acceptor_port(here->acceptor));
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct reader *reader = &here->readers[i];
        *reader = (struct reader){.here = here, .shard = i};
        assert_int_equal(pthread_create(&reader->thread, NULL, read_all, reader), 0);
    }
}

static void here_stop(struct here *here)
{
    for (int i = 0; i < SHARDS; i++) {
        atomic_store(&here->readers[i].stop, true);
        pthread_join(here->readers[i].thread, NULL);
    }
    acceptor_stop(here->acceptor);
    for (int i = 0; i < SHARDS; i++) mailbox_free(here->mailboxes[i]);
}

static void here_init(struct here *here, const char *address)
{
    *here = (struct here){.silence_ms = INBOUND_SILENCE_MS, .frame_ms = INBOUND_FRAME_MS};
    here_start(here, address);
}

static void here_fini(struct here *here)
{
    here_stop(here);
}

/* --- the dialling end: shard 1 of node THERE --- */

struct there {
    uv_loop_t uv;
    struct links *links;
    bool up;
    uint32_t ups, downs;

    struct prng prng; /* makes the batches */
    size_t batch_bytes_max;
    uint64_t to_send, sent;
};

static void there_changed(void *context, uint64_t node, bool up)
{
    struct there *there = context;
    assert_int_equal(node, HERE);
    assert_true(up != there->up);
    there->up = up;
    if (up)
        there->ups++;
    else
        there->downs++;
}

static bool there_take(void *context, uint64_t node, size_t bytes_max, struct buffer *batch)
{
    struct there *there = context;
    (void)bytes_max;
    assert_int_equal(node, HERE);
    assert_int_equal(batch->size, 0);
    if (there->sent == there->to_send) return false;
    make_batch(&there->prng, there->batch_bytes_max, there->sent++, batch);
    return true;
}

static void there_init_lane(struct there *there, const char *address, uint64_t node, uint64_t seed,
                            bool beats)
{
    *there = (struct there){0};
    prng_init(&there->prng, seed);
    uv_loop_init(&there->uv);
    struct links_options options = {
        .uv = &there->uv,
        .self = hello_of(CLUSTER, VNODES, node, 1),
        .seed = seed,
        .context = there,
        .changed = there_changed,
        .take = there_take,
    };
    options.self.from_shard = 1;
    options.self.beats = beats;
    there->links = links_start(&options);
    links_set_peer(there->links, HERE, "here", address);
}

static void there_init(struct there *there, const char *address, uint64_t node, uint64_t seed)
{
    there_init_lane(there, address, node, seed, false);
}

static void there_fini(struct there *there)
{
    links_stop(there->links);
    while (uv_run(&there->uv, UV_RUN_DEFAULT) != 0) continue;
    links_free(there->links);
    assert_int_equal(uv_loop_close(&there->uv), 0);
}

static bool there_until(struct there *there, bool up)
{
    for (int ms = 0; ms < WAIT_MS && there->up != up; ms++) {
        uv_run(&there->uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    return there->up == up;
}

/* From now on shard 1 of @here must get batches of this stream. */
static void expect(struct here *here, uint64_t seed, size_t bytes_max)
{
    prng_init(&here->readers[1].expected, seed);
    atomic_store(&here->readers[1].bytes_max, bytes_max);
}

static uint64_t got_so_far(struct here *here)
{
    assert_false(atomic_load(&here->readers[1].wrong));
    return atomic_load(&here->readers[1].got);
}

static void transfer(const char *address, uint64_t count, size_t bytes_max)
{
    struct here here;
    struct there there;
    uint64_t seed = prng_entropy();
    printf("%s: seed %" PRIu64 "\n", address, seed);
    here_init(&here, address);
    there_init(&there, here.address, THERE, seed);
    assert_true(there_until(&there, true));
    expect(&here, seed, bytes_max);
    there.batch_bytes_max = bytes_max;
    there.to_send = count;
    links_ship(there.links, HERE);
    uint64_t until = uv_hrtime() + WAIT_NS;
    for (uint64_t i = 0; uv_hrtime() < until && got_so_far(&here) < count; i++) {
        uv_run(&there.uv, UV_RUN_NOWAIT);
        if (i % 8 == 0) usleep(1000);
        links_ship(there.links, HERE);
    }
    assert_int_equal(got_so_far(&here), count);
    assert_int_equal(there.ups, 1);
    assert_int_equal(there.downs, 0);
    there_fini(&there);
    here_fini(&here);
}

static void batches_over_tcp(void **state)
{
    (void)state;
    transfer("tcp://127.0.0.1:0", 1000, 2000);
    transfer("tcp://127.0.0.1:0", 20, 3000000);
}

static void batches_over_ipc(void **state)
{
    (void)state;
    char address[128];
    snprintf(address, sizeof(address), "ipc:///tmp/dynode-link-test-%d", (int)getpid());
    transfer(address, 1000, 2000);
    transfer(address, 20, 3000000);
}

/* --- strangers: a plain socket --- */

static int stranger_connect(const struct here *here)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(acceptor_port(here->acceptor))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void put(int fd, const void *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* The connection ends, without a byte. */
static void expect_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && (errno == ECONNRESET || errno == EPIPE)));
    close(fd);
}

/* Send a hello; the answer. */
static struct hello stranger_hello(int fd, const struct hello *hello)
{
    uint8_t frame[HELLO_FRAME_BYTES_MAX], answer[HELLO_FRAME_BYTES_MAX];
    size_t size = 0, bytes;
    struct bytes payload;
    struct hello out;
    put(fd, frame, hello_pack(hello, frame));
    while (frame_next(bytes_of(answer, size), FRAME_HELLO_BYTES_MAX, &payload, &bytes) != FRAME_WHOLE) {
        ssize_t got = recv(fd, answer + size, sizeof(answer) - size, 0);
        assert_true(got > 0);
        size += (size_t)got;
    }
    assert_int_equal(hello_unpack(payload, &out), STATUS_OK);
    return out;
}

static void expect_refused(const struct here *here, const struct hello *hello, const char *text)
{
    int fd = stranger_connect(here);
    struct hello answer = stranger_hello(fd, hello);
    if (strstr(answer.refused, text) == NULL) fail_msg("\"%s\" does not say \"%s\"", answer.refused, text);
    expect_end(fd);
}

static void expect_alive(const struct here *here)
{
    struct hello hello = hello_of(CLUSTER, VNODES, THERE, 1);
    int fd = stranger_connect(here);
    struct hello answer = stranger_hello(fd, &hello);
    assert_string_equal(answer.refused, "");
    assert_int_equal(answer.node, HERE);
    close(fd);
}

static void refusals(void **state)
{
    (void)state;
    struct here here;
    here_init(&here, "tcp://127.0.0.1:0");
    const struct hello good = hello_of(CLUSTER, VNODES, THERE, 1);
    struct hello hello = good;
    hello.version_min = hello.version_max = 9;
    expect_refused(&here, &hello, "versions 9 to 9 are spoken there, 1 to 1 here");
    hello = good, hello.cluster = 78;
    expect_refused(&here, &hello, "cluster 000000000000004e is there, 000000000000004d here");
    hello = good, hello.vnodes = 128;
    expect_refused(&here, &hello, "128 vnodes are configured there, 64 here");
    hello = good, hello.node = HERE;
    expect_refused(&here, &hello, "own");
    hello = good, hello.node = STRANGER;
    expect_refused(&here, &hello, "no member");

    /* A second process of the same node, while the first is there; and again once that has gone. */
    int first = stranger_connect(&here);
    assert_string_equal(stranger_hello(first, &good).refused, "");
    hello = good, hello.incarnation = 2;
    expect_refused(&here, &hello, "another process");
    close(first);
    char refused[HELLO_WHY_BYTES] = "-";
    for (int i = 0; i < 100 && refused[0] != 0; i++) {
        int fd = stranger_connect(&here);
        snprintf(refused, sizeof(refused), "%s", stranger_hello(fd, &hello).refused);
        close(fd);
        usleep(10000);
    }
    assert_string_equal(refused, "");

    /* The same process and shard once more: the earlier link ends. */
    first = stranger_connect(&here);
    assert_string_equal(stranger_hello(first, &hello).refused, "");
    int second = stranger_connect(&here);
    assert_string_equal(stranger_hello(second, &hello).refused, "");
    expect_end(first);
    close(second);
    here_fini(&here);
}

static void garbage(void **state)
{
    (void)state;
    struct here here;
    here_init(&here, "tcp://127.0.0.1:0");
    for (size_t size = 0; size <= 7; size++) { /* nothing, or less than any hello, and gone */
        int fd = stranger_connect(&here);
        if (size > 0) put(fd, "\0\0\0\x20\x0dxx", size);
        shutdown(fd, SHUT_WR);
        expect_end(fd);
    }
    const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = stranger_connect(&here);
    put(fd, http, sizeof(http) - 1);
    expect_end(fd);
    const uint32_t lengths[] = {0, FRAME_HELLO_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t header[4];
        put_be32(header, lengths[i]);
        fd = stranger_connect(&here);
        put(fd, header, sizeof(header));
        expect_end(fd);
    }
    fd = stranger_connect(&here); /* a whole frame that is no protobuf */
    put(fd, "\0\0\0\x05\xff\xff\xff\xff\xff", 9);
    expect_end(fd);
    uint8_t frame[HELLO_FRAME_BYTES_MAX];
    struct hello hello = hello_of(CLUSTER, VNODES, THERE, 1);
    hello.magic = 0x64796e6f;
    fd = stranger_connect(&here);
    put(fd, frame, hello_pack(&hello, frame));
    expect_end(fd);
    expect_alive(&here);

    /* After a good hello. */
    const uint32_t later[] = {0, FRAME_PEER_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    hello = hello_of(CLUSTER, VNODES, THERE, 1);
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        uint8_t header[4];
        put_be32(header, later[i]);
        fd = stranger_connect(&here);
        assert_string_equal(stranger_hello(fd, &hello).refused, "");
        put(fd, header, sizeof(header));
        expect_end(fd);
    }
    expect_alive(&here);

    /* Reset at once, many times, and more that say nothing than may be half open: the last to come are
     * closed. */
    for (int i = 0; i < 200; i++) close(stranger_connect(&here));
    int silent[ACCEPTOR_HALF_OPEN_MAX + 20];
    uint64_t begun = uv_hrtime();
    for (int i = 0; i < ACCEPTOR_HALF_OPEN_MAX + 20; i++) silent[i] = stranger_connect(&here);
    expect_end(silent[ACCEPTOR_HALF_OPEN_MAX + 19]);
    if (uv_hrtime() - begun < ACCEPTOR_HELLO_MS * UINT64_C(900000)) { /* the first has its time yet */
        assert_int_equal(recv(silent[0], frame, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
    }
    for (int i = 0; i < ACCEPTOR_HALF_OPEN_MAX + 19; i++) close(silent[i]);
    bool alive = false;
    for (int i = 0; i < 500 && !alive; i++) { /* once those were noticed to be gone */
        usleep(10000);
        fd = stranger_connect(&here);
        put(fd, frame, hello_pack(&hello, frame));
        alive = recv(fd, frame, 1, 0) == 1;
        close(fd);
    }
    assert_true(alive);
    here_fini(&here);
}

static bool has_ended(int fd)
{
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static int open_link(const struct here *here)
{
    struct hello hello = hello_of(CLUSTER, VNODES, THERE, 1);
    hello.to_shard = 1, hello.beats = true;
    int fd = stranger_connect(here);
    assert_string_equal(stranger_hello(fd, &hello).refused, "");
    return fd;
}

/* A byte of @frame now and then, until the other end closes. */
static void drip_until_end(int fd, const uint8_t *frame, size_t size)
{
    bool ended = false;
    for (size_t i = 0; i < size && !ended; i++) {
        send(fd, frame + i, 1, MSG_NOSIGNAL);
        usleep(20000);
        ended = has_ended(fd);
    }
    assert_true(ended);
    close(fd);
}

/* After a good hello: nothing, a frame that lacks its last byte, one of which a byte comes now and then. */
static void links_that_do_not_go_on(void **state)
{
    (void)state;
    struct here here = {.silence_ms = 300, .frame_ms = INBOUND_FRAME_MS};
    uint8_t frame[1000] = {0};
    here_start(&here, "tcp://127.0.0.1:0");
    expect_end(open_link(&here));
    here_fini(&here);

    here = (struct here){.silence_ms = INBOUND_SILENCE_MS, .frame_ms = 300};
    here_start(&here, "tcp://127.0.0.1:0");
    put_be32(frame, sizeof(frame) - FRAME_HEADER_BYTES);
    const size_t sizes[] = {1, FRAME_HEADER_BYTES, sizeof(frame) - 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int fd = open_link(&here);
        uint64_t begun = uv_hrtime();
        put(fd, frame, sizes[i]);
        expect_end(fd);
        assert_true(uv_hrtime() - begun < INBOUND_SILENCE_MS * UINT64_C(1000000)); /* not by its silence */
    }
    drip_until_end(open_link(&here), frame, sizeof(frame) - 1);
    drip_until_end(stranger_connect(&here), frame, sizeof(frame) - 1); /* its hello: for ACCEPTOR_HELLO_MS */
    assert_int_equal(atomic_load(&here.readers[1].beats), 0);
    expect_alive(&here);
    here_fini(&here);
}

/* Always amid a frame, but never long amid the same one: it may go on for ever. */
static void slow_but_whole_frames(void **state)
{
    (void)state;
    enum { FRAMES = 15, FRAME_MS = 1000 };
    struct here here = {.silence_ms = INBOUND_SILENCE_MS, .frame_ms = FRAME_MS};
    uint8_t frame[10] = {0};
    here_start(&here, "tcp://127.0.0.1:0");
    put_be32(frame, sizeof(frame) - FRAME_HEADER_BYTES);
    int fd = open_link(&here);
    put(fd, frame, 6);
    bool in_time = true; /* this test, on a machine that has other things to do */
    uint64_t last = uv_hrtime();
    for (int i = 0; i < FRAMES && in_time; i++) {
        uint8_t piece[sizeof(frame)];
        usleep(FRAME_MS * 1000 / 10);
        memcpy(piece, frame + 6, sizeof(frame) - 6);
        memcpy(piece + sizeof(frame) - 6, frame, 6);
        in_time = uv_hrtime() - last < FRAME_MS * UINT64_C(500000);
        last = uv_hrtime();
        if (in_time) put(fd, piece, sizeof(piece));
    }
    for (int ms = 0; in_time && ms < WAIT_MS && atomic_load(&here.readers[1].beats) < FRAMES; ms++)
        usleep(1000);
    if (in_time) assert_int_equal(atomic_load(&here.readers[1].beats), FRAMES);
    close(fd);
    here_fini(&here);
}

/* The port is taken. */
static void taken_port(void **state)
{
    (void)state;
    struct here here;
    struct acceptor *second;
    char why[256];
    here_init(&here, "tcp://127.0.0.1:0");
    struct acceptor_options options = {
        .address = here.address, .shards = SHARDS, .mailboxes = here.mailboxes};
    assert_int_equal(acceptor_start(&options, why, sizeof(why), &second), STATUS_IN_USE);
    assert_non_null(strstr(why, here.address));
    options.address = "carrier-pigeon://loft";
    assert_int_equal(acceptor_start(&options, why, sizeof(why), &second), STATUS_INVALID);
    here_fini(&here);
}

static void dialled_anew(void **state)
{
    (void)state;
    struct here here;
    struct there there;
    here_init(&here, "tcp://127.0.0.1:0");
    there_init(&there, here.address, THERE, 5);
    for (int round = 0; round < 3; round++) {
        char address[128];
        assert_true(there_until(&there, true));
        here_stop(&here);
        assert_true(there_until(&there, false));
        snprintf(address, sizeof(address), "%s", here.address);
        here_start(&here, address);
    }
    assert_true(there_until(&there, true));
    assert_int_equal(there.ups, 4);
    there_fini(&there);
    here_fini(&here);
}

/* --- a listener that is no peer port --- */

struct listener {
    int fd, link; /* link: the one accepted last */
    char address[64];
    uint32_t accepted;
};

static void listener_open(struct listener *listener)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *listener = (struct listener){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .link = -1};
    assert_int_equal(bind(listener->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener->fd, 8), 0);
    assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&at, &size), 0);
    snprintf(listener->address, sizeof(listener->address), "tcp://127.0.0.1:%u", ntohs(at.sin_port));
}

/* Give whoever dials these bytes, and nothing more; the link before it ends. */
static void listener_answer(struct listener *listener, struct bytes answer)
{
    int fd = accept(listener->fd, NULL, NULL);
    if (fd < 0) return;
    if (listener->link >= 0) close(listener->link);
    listener->link = fd;
    listener->accepted++;
    if (answer.size > 0) put(fd, answer.data, answer.size);
}

/* A dialler whose address leads to somebody else: the link is not up for a moment, it dials again, and once
 * the right node answers there the link comes up. */
static void answers_of_others(void **state)
{
    (void)state;
    enum { HTTP, TLS, NOISE, TOO_MUCH, NO_HELLO, ANOTHER_NODE, TOO_LONG, DRIP, NOTHING, CASES };
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    static const uint8_t alert[] = {0x15, 3, 1, 0, 2, 2, 70}; /* TLS: protocol_version */
    static uint8_t noise[100000], no_hello[HELLO_FRAME_BYTES_MAX + 1000], begun[FRAME_HEADER_BYTES];
    uint8_t good[HELLO_FRAME_BYTES_MAX + 1], other[HELLO_FRAME_BYTES_MAX];
    const struct hello here = hello_of(CLUSTER, VNODES, HERE, 1),
                       stranger = hello_of(CLUSTER, VNODES, STRANGER, 1);
    uint64_t seed = prng_entropy();
    struct prng prng;
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    for (size_t i = 0; i < sizeof(noise); i++) noise[i] = (uint8_t)prng_below(&prng, 256);
    put_be32(no_hello, FRAME_HELLO_BYTES_MAX);
    memset(no_hello + FRAME_HEADER_BYTES, 0xff, sizeof(no_hello) - FRAME_HEADER_BYTES);
    put_be32(begun, FRAME_HELLO_BYTES_MAX);
    size_t size = hello_pack(&here, good);
    good[size] = 0;
    const struct bytes answers[CASES] = {
        [HTTP] = bytes_of(http, sizeof(http) - 1),
        [TLS] = bytes_of(alert, sizeof(alert)),
        [NOISE] = bytes_of(noise, sizeof(noise)),
        [TOO_MUCH] = bytes_of(good, size + 1),
        [NO_HELLO] = bytes_of(no_hello, FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX),
        [ANOTHER_NODE] = bytes_of(other, hello_pack(&stranger, other)),
        [TOO_LONG] = bytes_of(no_hello, sizeof(no_hello)),
        [DRIP] = bytes_of(begun, sizeof(begun)),
    };
    struct listener listeners[CASES];
    struct there there[CASES];
    for (int i = 0; i < CASES; i++) {
        listener_open(&listeners[i]);
        there_init(&there[i], listeners[i].address, THERE, 10 + (uint64_t)i);
    }
    uint32_t again = 0;
    for (int ms = 0; ms < WAIT_MS && again < CASES; ms++) { /* LINK_HELLO_MS, for what never comes */
        again = 0;
        for (int i = 0; i < CASES; i++) {
            uv_run(&there[i].uv, UV_RUN_NOWAIT);
            listener_answer(&listeners[i], answers[i]);
            if (i == DRIP && ms % 40 == 0 && listeners[i].link >= 0)
                (void)!send(listeners[i].link, "", 1, MSG_NOSIGNAL);
            assert_int_equal(there[i].ups, 0);
            again += listeners[i].accepted > 1;
        }
        usleep(1000);
    }
    assert_int_equal(again, CASES);
    again = 0;
    for (int ms = 0; ms < WAIT_MS && again < CASES; ms++) {
        again = 0;
        for (int i = 0; i < CASES; i++) {
            listener_answer(&listeners[i], bytes_of(good, size));
            uv_run(&there[i].uv, UV_RUN_NOWAIT);
            again += there[i].up;
        }
        usleep(1000);
    }
    assert_int_equal(again, CASES);
    for (int i = 0; i < CASES; i++) {
        assert_int_equal(there[i].downs, 0);
        there_fini(&there[i]);
        close(listeners[i].link);
        close(listeners[i].fd);
    }
}

/* One whom nobody knows is refused, keeps dialling, and is let in once he is a member. */
static void refused_until_a_member(void **state)
{
    (void)state;
    struct here here;
    struct there there;
    here_init(&here, "tcp://127.0.0.1:0");
    there_init(&there, here.address, STRANGER, 6);
    for (int ms = 0; ms < 300; ms++) {
        uv_run(&there.uv, UV_RUN_NOWAIT);
        usleep(1000);
        assert_false(there.up);
    }
    const uint64_t members[] = {HERE, THERE, STRANGER};
    acceptor_set_members(here.acceptor, members, 3);
    assert_true(there_until(&there, true));
    there_fini(&there);
    here_fini(&here);
}

/* A shard that has no room holds back the sender, and nothing is lost. */
static void back_pressure(void **state)
{
    (void)state;
    enum { BATCHES = 4000, BYTES = 20000 };
    struct here here;
    struct there there;
    here_init(&here, "tcp://127.0.0.1:0");
    there_init(&there, here.address, THERE, 7);
    assert_true(there_until(&there, true));
    expect(&here, 7, BYTES);
    atomic_store(&here.readers[1].hold, true);
    there.batch_bytes_max = BYTES;
    there.to_send = BATCHES;
    uint64_t before = UINT64_MAX;
    for (int still = 0; still < 50;) { /* until nothing more is taken for 50 ms */
        links_ship(there.links, HERE);
        uv_run(&there.uv, UV_RUN_NOWAIT);
        usleep(1000);
        still = before == there.sent ? still + 1 : 0;
        before = there.sent;
    }
    assert_true(there.sent < BATCHES);
    atomic_store(&here.readers[1].hold, false);
    uint64_t until = uv_hrtime() + WAIT_NS;
    for (uint64_t i = 0; uv_hrtime() < until && got_so_far(&here) < BATCHES; i++) {
        links_ship(there.links, HERE);
        uv_run(&there.uv, UV_RUN_NOWAIT);
        if (i % 8 == 0) usleep(1000);
    }
    assert_int_equal(got_so_far(&here), BATCHES);

    /* Stopped while a link waits for room: nothing hangs. */
    atomic_store(&here.readers[1].hold, true);
    there.to_send += BATCHES;
    for (int ms = 0; ms < 100; ms++) {
        links_ship(there.links, HERE);
        uv_run(&there.uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    here_fini(&here);
    there_fini(&there);
}

/* Heartbeats have a link of their own beside that for data, of the same shard and process: bulk that waits at
 * a shard without room, more than the sockets take, holds up none of them. */
static void heartbeats_beside_bulk(void **state)
{
    (void)state;
    enum { BATCHES = 4000, BYTES = 20000, BEATS = 50 };
    struct here here;
    struct there bulk, beats;
    here_init(&here, "tcp://127.0.0.1:0");
    there_init(&bulk, here.address, THERE, 8);
    assert_true(there_until(&bulk, true));
    expect(&here, 8, BYTES);
    atomic_store(&here.readers[1].hold, true);
    there_init_lane(&beats, here.address, THERE, 9, true);
    assert_true(there_until(&beats, true));
    bulk.batch_bytes_max = BYTES;
    bulk.to_send = BATCHES;
    uint64_t until = uv_hrtime() + WAIT_NS;
    for (uint64_t i = 0; uv_hrtime() < until && atomic_load(&here.readers[1].beats) < BEATS; i++) {
        if (beats.to_send < BEATS && i % 10 == 0) beats.to_send++;
        links_ship(bulk.links, HERE);
        links_ship(beats.links, HERE);
        uv_run(&bulk.uv, UV_RUN_NOWAIT);
        uv_run(&beats.uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(atomic_load(&here.readers[1].beats), BEATS);
    assert_true(bulk.sent < BATCHES);
    assert_true(links_is_up(bulk.links, HERE) && links_is_up(beats.links, HERE));
    assert_int_equal(bulk.downs + beats.downs, 0);
    here_fini(&here);
    there_fini(&bulk);
    there_fini(&beats);
}

/* A shard that stands still holds up its own links only, and gets them all when it goes on. */
static void a_shard_that_stands_still(void **state)
{
    (void)state;
    enum { MANY = 4 * MAILBOX_BUFFER };
    struct here here;
    int links[MANY];
    const uint8_t too_long[] = {0xff, 0xff, 0xff, 0xff};
    struct hello hello = hello_of(CLUSTER, VNODES, THERE, 1);
    here_init(&here, "tcp://127.0.0.1:0");
    atomic_store(&here.readers[0].stuck, true);
    for (int i = 0; i < MANY; i++) {
        links[i] = stranger_connect(&here);
        hello.from_shard = (uint32_t)i;
        assert_string_equal(stranger_hello(links[i], &hello).refused, "");
    }
    int other = stranger_connect(&here);
    hello.from_shard = MANY, hello.to_shard = 1;
    assert_string_equal(stranger_hello(other, &hello).refused, "");
    put(other, too_long, sizeof(too_long));
    expect_end(other); /* it is read */
    hello.from_shard = MANY - 1, hello.to_shard = 0;
    int again = stranger_connect(&here); /* in place of one that still waits for its shard */
    assert_string_equal(stranger_hello(again, &hello).refused, "");
    expect_end(links[MANY - 1]);
    links[MANY - 1] = again;
    atomic_store(&here.readers[0].stuck, false);
    for (int i = 0; i < MANY; i++) {
        put(links[i], too_long, sizeof(too_long));
        expect_end(links[i]);
    }

    /* Stopped while some wait: nothing hangs. */
    atomic_store(&here.readers[0].stuck, true);
    for (int i = 0; i < MANY; i++) {
        links[i] = stranger_connect(&here);
        hello.from_shard = (uint32_t)i;
        assert_string_equal(stranger_hello(links[i], &hello).refused, "");
    }
    here_fini(&here);
    for (int i = 0; i < MANY; i++) close(links[i]);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_over_tcp),
        cmocka_unit_test(batches_over_ipc),
        cmocka_unit_test(refusals),
        cmocka_unit_test(garbage),
        cmocka_unit_test(links_that_do_not_go_on),
        cmocka_unit_test(slow_but_whole_frames),
        cmocka_unit_test(taken_port),
        cmocka_unit_test(dialled_anew),
        cmocka_unit_test(answers_of_others),
        cmocka_unit_test(refused_until_a_member),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(heartbeats_beside_bulk),
        cmocka_unit_test(a_shard_that_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
