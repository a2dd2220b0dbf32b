/* The socket beneath a stream is found among all others, its own end of it, and where it can't be told, that
 * is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/descriptor.h"

enum { PAIRS = 20 };

struct pair {
    nng_stream *dialled, *accepted;
};

static nng_stream *stream_of(nng_aio *aio)
{
    nng_aio_wait(aio);
    assert_int_equal(nng_aio_result(aio), 0);
    return nng_aio_get_output(aio, 0);
}

/* Connections through one listener, both ends here. False: there is no such address on this machine. */
static bool connect_pairs(const char *address, struct pair *pairs, int count)
{
    nng_stream_listener *listener;
    nng_stream_dialer *dialer;
    nng_aio *accept, *dial;
    int port = 0;
    char actual[128];
    assert_int_equal(nng_stream_listener_alloc(&listener, address), 0);
    int error = nng_stream_listener_listen(listener);
    if (error != 0) {
        nng_stream_listener_free(listener);
        return false;
    }
    snprintf(actual, sizeof(actual), "%s", address);
    if (nng_stream_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
        snprintf(actual, sizeof(actual), "%.*s:%d", (int)strlen(address) - 2, address, port);
    assert_int_equal(nng_stream_dialer_alloc(&dialer, actual), 0);
    assert_int_equal(nng_aio_alloc(&accept, NULL, NULL), 0);
    assert_int_equal(nng_aio_alloc(&dial, NULL, NULL), 0);
    for (int i = 0; i < count; i++) {
        nng_stream_listener_accept(listener, accept);
        nng_stream_dialer_dial(dialer, dial);
        pairs[i] = (struct pair){stream_of(dial), stream_of(accept)};
    }
    nng_aio_free(accept);
    nng_aio_free(dial);
    nng_stream_dialer_free(dialer);
    nng_stream_listener_free(listener);
    return true;
}

static void send_byte(nng_stream *stream, uint8_t byte)
{
    nng_aio *aio;
    nng_iov iov = {.iov_buf = &byte, .iov_len = 1};
    assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
    assert_int_equal(nng_aio_set_iov(aio, 1, &iov), 0);
    nng_stream_send(stream, aio);
    nng_aio_wait(aio);
    assert_int_equal(nng_aio_result(aio), 0);
    nng_aio_free(aio);
}

/* What is sent into the other end comes out of the descriptor. */
static void expect_end(nng_stream *stream, nng_stream *other, uint8_t byte)
{
    int fd = descriptor_of(stream);
    uint8_t got = 0;
    assert_true(fd >= 0);
    send_byte(other, byte);
    assert_int_equal(recv(fd, &got, 1, 0), 1);
    assert_int_equal(got, byte);
    assert_int_equal(recv(fd, &got, 1, MSG_DONTWAIT), -1);
    close(fd);
}

static void pairs_free(struct pair *pairs, int count)
{
    for (int i = 0; i < count; i++) {
        nng_stream_free(pairs[i].dialled);
        nng_stream_free(pairs[i].accepted);
    }
}

static void found_among_others(void **state)
{
    (void)state;
    const char *addresses[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0"};
    for (size_t a = 0; a < 2; a++) {
        struct pair pairs[PAIRS];
        if (!connect_pairs(addresses[a], pairs, PAIRS)) {
            assert_int_equal(a, 1); /* no IPv6 here */
            continue;
        }
        for (int i = 0; i < PAIRS; i++) {
            expect_end(pairs[i].accepted, pairs[i].dialled, (uint8_t)(i + 1));
            expect_end(pairs[i].dialled, pairs[i].accepted, (uint8_t)(i + 101));
        }
        pairs_free(pairs, PAIRS);
    }
}

static void not_told(void **state)
{
    (void)state;
    char address[64];
    struct pair pair;
    snprintf(address, sizeof(address), "ipc:///tmp/dynode-descriptor-%d", (int)getpid());
    assert_true(connect_pairs(address, &pair, 1));
    assert_int_equal(descriptor_of(pair.accepted), -1);
    assert_int_equal(descriptor_of(pair.dialled), -1);
    pairs_free(&pair, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_among_others),
        cmocka_unit_test(not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
