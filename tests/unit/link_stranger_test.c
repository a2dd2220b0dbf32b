/* Peer links and strangers: who dials the peer port and is no peer, and what a link does that has dialled
 * somebody else. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "link_fixture.h"

static void expect_refused(const struct here *here, const struct hello *hello, const char *text)
{
    int fd = stranger_connect(here);
    struct hello answer = stranger_hello(fd, hello);
    if (strstr(answer.refused, text) == NULL) fail_msg("\"%s\" does not say \"%s\"", answer.refused, text);
    stranger_expect_end(fd);
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
    stranger_expect_end(first);
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
        if (size > 0) stranger_put(fd, "\0\0\0\x20\x0dxx", size);
        shutdown(fd, SHUT_WR);
        stranger_expect_end(fd);
    }
    const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = stranger_connect(&here);
    stranger_put(fd, http, sizeof(http) - 1);
    stranger_expect_end(fd);
    const uint32_t lengths[] = {0, FRAME_HELLO_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t header[4];
        put_be32(header, lengths[i]);
        fd = stranger_connect(&here);
        stranger_put(fd, header, sizeof(header));
        stranger_expect_end(fd);
    }
    fd = stranger_connect(&here); /* a whole frame that is no protobuf */
    stranger_put(fd, "\0\0\0\x05\xff\xff\xff\xff\xff", 9);
    stranger_expect_end(fd);
    uint8_t frame[HELLO_FRAME_BYTES_MAX];
    struct hello hello = hello_of(CLUSTER, VNODES, THERE, 1);
    hello.magic = 0x64796e6f;
    fd = stranger_connect(&here);
    stranger_put(fd, frame, hello_pack(&hello, frame));
    stranger_expect_end(fd);
    expect_alive(&here);

    /* After a good hello. */
    const uint32_t later[] = {0, FRAME_PEER_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    hello = hello_of(CLUSTER, VNODES, THERE, 1);
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        uint8_t header[4];
        put_be32(header, later[i]);
        fd = stranger_connect(&here);
        assert_string_equal(stranger_hello(fd, &hello).refused, "");
        stranger_put(fd, header, sizeof(header));
        stranger_expect_end(fd);
    }
    expect_alive(&here);

    /* Reset at once, many times, and more that say nothing than may be half open: the last to come are
     * closed. */
    for (int i = 0; i < 200; i++) close(stranger_connect(&here));
    int silent[ACCEPTOR_HALF_OPEN_MAX + 20];
    uint64_t begun = uv_hrtime();
    for (int i = 0; i < ACCEPTOR_HALF_OPEN_MAX + 20; i++) silent[i] = stranger_connect(&here);
    stranger_expect_end(silent[ACCEPTOR_HALF_OPEN_MAX + 19]);
    if (uv_hrtime() - begun < ACCEPTOR_HELLO_MS * UINT64_C(900000)) { /* the first has its time yet */
        assert_int_equal(recv(silent[0], frame, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
    }
    for (int i = 0; i < ACCEPTOR_HALF_OPEN_MAX + 19; i++) close(silent[i]);
    bool alive = false;
    for (int i = 0; i < 500 && !alive; i++) { /* once those were noticed to be gone */
        usleep(10000);
        fd = stranger_connect(&here);
        stranger_put(fd, frame, hello_pack(&hello, frame));
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
    stranger_expect_end(open_link(&here));
    here_fini(&here);

    here = (struct here){.silence_ms = INBOUND_SILENCE_MS, .frame_ms = 300};
    here_start(&here, "tcp://127.0.0.1:0");
    put_be32(frame, sizeof(frame) - FRAME_HEADER_BYTES);
    const size_t sizes[] = {1, FRAME_HEADER_BYTES, sizeof(frame) - 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int fd = open_link(&here);
        uint64_t begun = uv_hrtime();
        stranger_put(fd, frame, sizes[i]);
        stranger_expect_end(fd);
        assert_true(uv_hrtime() - begun < INBOUND_SILENCE_MS * UINT64_C(1000000)); /* not by its silence */
    }
    drip_until_end(open_link(&here), frame, sizeof(frame) - 1);
    drip_until_end(stranger_connect(&here), frame, sizeof(frame) - 1); /* its hello: for ACCEPTOR_HELLO_MS */
    assert_int_equal(atomic_load(&here.readers[1].beats), 0);
    expect_alive(&here);
    here_fini(&here);
}

/* What came before a reset is read to its end, however it comes to the shard's loop. */
static void reset_behind_bytes(void **state)
{
    (void)state;
    enum { FRAMES = 300, FRAME_BYTES = 300 }; /* more than is received in one step */
    struct here here;
    uint8_t frame[FRAME_BYTES] = {0};
    here_init(&here, "tcp://127.0.0.1:0");
    put_be32(frame, sizeof(frame) - FRAME_HEADER_BYTES);
    atomic_store(&here.readers[1].stuck, true);
    int fd = open_link(&here), unsent = 1;
    for (int i = 0; i < FRAMES; i++) stranger_put(fd, frame, sizeof(frame));
    for (int ms = 0; ms < WAIT_MS && unsent > 0; ms++) {
        assert_int_equal(ioctl(fd, SIOCOUTQ, &unsent), 0);
        usleep(1000);
    }
    assert_int_equal(unsent, 0);
    assert_int_equal(
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger)), 0);
    close(fd);
    atomic_store(&here.readers[1].stuck, false);
    for (int ms = 0; ms < WAIT_MS && atomic_load(&here.readers[1].beats) < FRAMES; ms++) usleep(1000);
    assert_int_equal(atomic_load(&here.readers[1].beats), FRAMES);
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
    stranger_put(fd, frame, 6);
    bool in_time = true; /* this test, on a machine that has other things to do */
    uint64_t last = uv_hrtime();
    for (int i = 0; i < FRAMES && in_time; i++) {
        uint8_t piece[sizeof(frame)];
        usleep(FRAME_MS * 1000 / 10);
        memcpy(piece, frame + 6, sizeof(frame) - 6);
        memcpy(piece + sizeof(frame) - 6, frame, 6);
        in_time = uv_hrtime() - last < FRAME_MS * UINT64_C(500000);
        last = uv_hrtime();
        if (in_time) stranger_put(fd, piece, sizeof(piece));
    }
    for (int ms = 0; in_time && ms < WAIT_MS && atomic_load(&here.readers[1].beats) < FRAMES; ms++)
        usleep(1000);
    if (in_time) assert_int_equal(atomic_load(&here.readers[1].beats), FRAMES);
    close(fd);
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
    if (answer.size > 0) stranger_put(fd, answer.data, answer.size);
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

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(garbage),
        cmocka_unit_test(links_that_do_not_go_on),
        cmocka_unit_test(slow_but_whole_frames),
        cmocka_unit_test(reset_behind_bytes),
        cmocka_unit_test(answers_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
