/* Client port: what strangers and broken clients send it, before they are welcome (bad hellos, silence, too
 * many of them) and after (bad lengths, unfinished frames, claims). After each attack the port must be alive:
 * a good client is served. What happens to good ones is in client_port_test.c. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "client_port_fixture.h"
#include "wire/frame.h"

/* --- bad hellos --- */

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
    start(3);
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

/* --- bad frames --- */

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

/* The other end closes while the client still sends a byte of @claim now and then: none buys it time. */
static void assert_drip_ends(int fd, size_t claim)
{
    uint8_t header[FRAME_HEADER_BYTES], byte;
    frame_header(header, claim);
    put(fd, header, sizeof header);
    for (size_t i = 0; i < 500; i++) {
        put(fd, "", 1);
        if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) {
            close(fd);
            return;
        }
        usleep(5000);
    }
    fail_msg("a byte now and then keeps it open");
}

static void a_byte_now_and_then_buys_no_time(void **state)
{
    (void)state;
    limits.hello_ms = limits.frame_ms = 100;
    restart();
    assert_drip_ends(dial(), FRAME_HELLO_BYTES_MAX);
    assert_drip_ends(dial_hello(1), 100000);
    assert_alive();
    assert_none_left();
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

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(no_hello_ends_in_time),
        TEST(other_protocols_are_ended),
        TEST(another_version_is_told),
        TEST(resets_are_survived),
        TEST(half_open_connections_give_way),
        TEST(one_too_many_is_told_so),
        TEST(running_out_of_descriptors_is_survived),
        TEST(lengths_out_of_range_end_the_connection),
        TEST(an_unfinished_frame_ends_in_time),
        TEST(a_byte_now_and_then_buys_no_time),
        TEST(a_claim_costs_no_memory),
        TEST(unfinished_frames_together_are_bounded),
        TEST(one_byte_at_a_time_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
