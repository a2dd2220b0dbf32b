/* The mailbox keeps each sender's order and loses nothing, even while its buffers are full or as it ends. */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "runtime/mailbox.h"

enum { WRITERS = 4, PARCELS = 5000, PAYLOAD_BYTES_MAX = 300, NUMBER_BYTES = 8 };

struct writer {
    struct mailbox *mailbox;
    uint32_t number;
    uint64_t seed;
    uint64_t full; /* times that the queue was full */
};

static uint8_t letter(uint32_t writer, uint64_t i)
{
    return (uint8_t)(writer * 31 + i * 7);
}

static nng_msg *make(struct prng *prng, uint32_t writer, uint64_t i)
{
    uint8_t payload[NUMBER_BYTES + PAYLOAD_BYTES_MAX];
    size_t size = (size_t)prng_below(prng, PAYLOAD_BYTES_MAX + 1);
    put_be64(payload, (uint64_t)writer << 32 | i);
    memset(payload + NUMBER_BYTES, letter(writer, i), size);
    return parcel_pack(
        &(struct parcel){.kind = PARCEL_SHARD_BATCH, .payload = bytes_of(payload, NUMBER_BYTES + size)});
}

static void *write_all(void *argument)
{
    struct writer *writer = argument;
    struct prng prng;
    prng_init(&prng, writer->seed);
    for (uint64_t i = 0; i < PARCELS; i++) {
        nng_msg *msg = make(&prng, writer->number, i);
        while (!mailbox_try_send(writer->mailbox, writer->number, &msg)) {
            writer->full++;
            sched_yield();
        }
        assert_null(msg);
    }
    return NULL;
}

static void check_parcel(const struct parcel *parcel, uint32_t writer, uint64_t i)
{
    assert_int_equal(parcel->kind, PARCEL_SHARD_BATCH);
    assert_true(parcel->payload.size >= NUMBER_BYTES);
    assert_int_equal(get_be64(parcel->payload.data), (uint64_t)writer << 32 | i);
    for (size_t b = NUMBER_BYTES; b < parcel->payload.size; b++)
        assert_int_equal(parcel->payload.data[b], letter(writer, i));
}

static void order_and_no_loss(void **state)
{
    (void)state;
    uint64_t seed = prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    struct mailbox *mailbox;
    assert_int_equal(mailbox_alloc(WRITERS, &mailbox), STATUS_OK);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct pollfd fds[WRITERS];
    uint64_t next[WRITERS] = {0}, total = 0, full = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        fds[i] = (struct pollfd){.fd = mailbox_descriptor(mailbox, i), .events = POLLIN};
        writers[i] = (struct writer){.mailbox = mailbox, .number = i, .seed = seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    usleep(20000); /* nothing is read at first: all buffers fill */
    while (total < (uint64_t)WRITERS * PARCELS) {
        assert_true(poll(fds, WRITERS, 10000) > 0);
        for (uint32_t i = 0; i < WRITERS; i++) {
            struct parcel parcel;
            while (mailbox_take(mailbox, i, &parcel)) {
                check_parcel(&parcel, i, next[i]++);
                nng_msg_free(parcel.msg);
                total++;
            }
        }
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        full += writers[i].full;
        assert_int_equal(next[i], PARCELS);
    }
    assert_true(full > 0);
    mailbox_free(mailbox);
}

/* A full queue says so at once, holds a bounded number, and has room again once something was taken. */
static void full_is_not_blocked(void **state)
{
    (void)state;
    struct mailbox *mailbox;
    assert_int_equal(mailbox_alloc(2, &mailbox), STATUS_OK);
    uint64_t sent = 0, refused = 0;
    while (refused < 20 && sent < 1000) { /* nng moves them to the other end meanwhile */
        nng_msg *msg = parcel_pack(&(struct parcel){.kind = PARCEL_SHARD_BATCH, .fd = (int)sent});
        if (mailbox_try_send(mailbox, 0, &msg)) {
            sent++;
            continue;
        }
        assert_non_null(msg);
        nng_msg_free(msg);
        refused++;
        usleep(1000);
    }
    assert_int_equal(refused, 20);
    assert_true(sent >= MAILBOX_BUFFER);
    assert_true(sent <= 2 * MAILBOX_BUFFER + 4);

    /* The other sender's queue is not touched by it. */
    nng_msg *msg = parcel_pack(&(struct parcel){.kind = PARCEL_SHARD_BATCH, .fd = (int)77});
    assert_true(mailbox_try_send(mailbox, 1, &msg));

    struct parcel parcel;
    uint64_t got = 0;
    struct pollfd fd = {.fd = mailbox_descriptor(mailbox, 0), .events = POLLIN};
    while (got < sent && poll(&fd, 1, 5000) == 1) {
        while (mailbox_take(mailbox, 0, &parcel)) {
            assert_int_equal(parcel.fd, got++);
            nng_msg_free(parcel.msg);
        }
    }
    assert_int_equal(got, sent);
    msg = parcel_pack(&(struct parcel){.kind = PARCEL_SHARD_BATCH});
    assert_true(mailbox_try_send(mailbox, 0, &msg));
    mailbox_free(mailbox);
}

static bool send_large(struct mailbox *mailbox, size_t size)
{
    uint8_t *payload = calloc(1, size);
    assert_non_null(payload);
    nng_msg *msg =
        parcel_pack(&(struct parcel){.kind = PARCEL_SHARD_BATCH, .payload = bytes_of(payload, size)});
    free(payload);
    bool sent = mailbox_try_send(mailbox, 0, &msg);
    if (!sent) nng_msg_free(msg);
    return sent;
}

/* A few large parcels fill a queue, too. */
static void full_of_bytes(void **state)
{
    (void)state;
    struct mailbox *mailbox;
    struct parcel parcel;
    enum { SIZE = 4 << 20 };
    assert_int_equal(mailbox_alloc(1, &mailbox), STATUS_OK);
    uint32_t sent = 0;
    while (send_large(mailbox, SIZE)) sent++;
    assert_int_equal(sent, MAILBOX_BYTES_MAX / SIZE - 1); /* each has a head, too */
    struct pollfd fd = {.fd = mailbox_descriptor(mailbox, 0), .events = POLLIN};
    for (uint32_t i = 0; i < sent; i++) {
        while (!mailbox_take(mailbox, 0, &parcel)) assert_int_equal(poll(&fd, 1, 5000), 1);
        nng_msg_free(parcel.msg);
        if (i == 0) assert_true(send_large(mailbox, SIZE));
        if (i == 0) assert_false(send_large(mailbox, SIZE));
    }
    while (!mailbox_take(mailbox, 0, &parcel)) assert_int_equal(poll(&fd, 1, 5000), 1);
    nng_msg_free(parcel.msg);
    assert_true(send_large(mailbox, MAILBOX_BYTES_MAX + 1)); /* into an empty one */
    assert_false(send_large(mailbox, 1));
    mailbox_free(mailbox);
}

static void descriptors_are_closed(void **state)
{
    (void)state;
    struct mailbox *mailbox;
    int fds[2];
    assert_int_equal(mailbox_alloc(1, &mailbox), STATUS_OK);
    assert_int_equal(pipe(fds), 0);
    nng_msg *msg =
        parcel_pack(&(struct parcel){.kind = PARCEL_DESCRIPTOR, .fd = fds[1], .payload = bytes_str("facts")});
    assert_true(mailbox_try_send(mailbox, 0, &msg));
    struct pollfd fd = {.fd = mailbox_descriptor(mailbox, 0), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 5000), 1);
    mailbox_free(mailbox);
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 0); /* the other end is closed */
    close(fds[0]);
}

/* A mailbox that ends at any moment, with messages in either buffer and between them, forgets none: each one
 * here carries the writing end of a pipe, and the reader of that pipe sees its end. */
static void nothing_on_its_way_is_lost(void **state)
{
    (void)state;
    enum { ROUNDS = 300 };
    struct prng prng;
    uint64_t seed = prng_entropy();
    printf("seed %" PRIu64 "\n", seed);
    prng_init(&prng, seed);
    for (int round = 0; round < ROUNDS; round++) {
        struct mailbox *mailbox;
        int fds[2];
        assert_int_equal(mailbox_alloc(2, &mailbox), STATUS_OK);
        assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
        uint64_t wanted = prng_below(&prng, 2 * MAILBOX_BUFFER + 10);
        for (uint64_t i = 0; i < wanted; i++) {
            int fd = dup(fds[1]);
            nng_msg *msg = parcel_pack(&(struct parcel){.kind = PARCEL_DESCRIPTOR, .fd = fd});
            if (mailbox_try_send(mailbox, (uint32_t)(i % 3 == 0), &msg)) continue;
            nng_msg_free(msg);
            close(fd);
        }
        struct parcel parcel;
        if (prng_below(&prng, 2) == 0 && mailbox_take(mailbox, 0, &parcel)) {
            close(parcel.fd);
            nng_msg_free(parcel.msg);
        }
        close(fds[1]);
        mailbox_free(mailbox);
        char byte;
        assert_int_equal(read(fds[0], &byte, 1), 0); /* -1: somebody still has the other end */
        close(fds[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_no_loss),
        cmocka_unit_test(full_is_not_blocked),
        cmocka_unit_test(full_of_bytes),
        cmocka_unit_test(descriptors_are_closed),
        cmocka_unit_test(nothing_on_its_way_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
