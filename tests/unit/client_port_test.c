/* Client port: what happens to connections that are served: whole frames and answers, each to its own client;
 * clients that do not read; the end of a shard or of the node. What bad ones send is in
 * client_port_input_test.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/config_value.h"
#include "base/log.h"
#include "client_port_fixture.h"
#include "wire/frame.h"

/* --- what is promised --- */

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

/* --- clients that do not read --- */

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

/* --- the node's own life --- */

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
