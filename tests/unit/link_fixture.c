#include "link_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* --- the accepting end: node HERE with two shards --- */

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
            bool ipc = strncmp(reader->here->address, "ipc:", 4) == 0;
            assert_int_equal(parcel.link->descriptor == -1, ipc); /* the loop watches the others itself */
            inbound_add(inbound, parcel.link);
            nng_msg_free(parcel.msg);
        }
        bool more = inbound_receive(inbound);
        uv_run(&uv, UV_RUN_NOWAIT);
        if (!more) usleep(200);
    }
    inbound_stop(inbound);
    while (uv_run(&uv, UV_RUN_DEFAULT) != 0) continue;
    inbound_free(inbound);
    uv_loop_close(&uv);
    return NULL;
}

void here_start(struct here *here, const char *address)
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

void here_stop(struct here *here)
{
    for (int i = 0; i < SHARDS; i++) {
        atomic_store(&here->readers[i].stop, true);
        pthread_join(here->readers[i].thread, NULL);
    }
    acceptor_stop(here->acceptor);
    for (int i = 0; i < SHARDS; i++) mailbox_free(here->mailboxes[i]);
}

void here_init(struct here *here, const char *address)
{
    *here = (struct here){.silence_ms = INBOUND_SILENCE_MS, .frame_ms = INBOUND_FRAME_MS};
    here_start(here, address);
}

void here_fini(struct here *here)
{
    here_stop(here);
}

/* --- the dialling end: shard 1 of node THERE --- */

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

void there_init_lane(struct there *there, const char *address, uint64_t node, uint64_t seed, bool beats)
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
    links_set_peer(there->links, HERE, "here", address, NULL);
}

void there_init(struct there *there, const char *address, uint64_t node, uint64_t seed)
{
    there_init_lane(there, address, node, seed, false);
}

void there_fini(struct there *there)
{
    links_stop(there->links);
    while (uv_run(&there->uv, UV_RUN_DEFAULT) != 0) continue;
    links_free(there->links);
    assert_int_equal(uv_loop_close(&there->uv), 0);
}

bool there_until(struct there *there, bool up)
{
    for (int ms = 0; ms < WAIT_MS && there->up != up; ms++) {
        uv_run(&there->uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    return there->up == up;
}

/* From now on shard 1 of @here must get batches of this stream. */
void here_expect(struct here *here, uint64_t seed, size_t bytes_max)
{
    prng_init(&here->readers[1].expected, seed);
    atomic_store(&here->readers[1].bytes_max, bytes_max);
}

uint64_t here_got(struct here *here)
{
    assert_false(atomic_load(&here->readers[1].wrong));
    return atomic_load(&here->readers[1].got);
}

/* --- strangers: a plain socket --- */

int stranger_connect(const struct here *here)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(acceptor_port(here->acceptor))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void stranger_put(int fd, const void *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* The connection ends, without a byte. */
void stranger_expect_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && (errno == ECONNRESET || errno == EPIPE)));
    close(fd);
}

/* Send a hello; the answer. */
struct hello stranger_hello(int fd, const struct hello *hello)
{
    uint8_t frame[HELLO_FRAME_BYTES_MAX], answer[HELLO_FRAME_BYTES_MAX];
    size_t size = 0, bytes;
    struct bytes payload;
    struct hello out;
    stranger_put(fd, frame, hello_pack(hello, frame));
    while (frame_next(bytes_of(answer, size), FRAME_HELLO_BYTES_MAX, &payload, &bytes) != FRAME_WHOLE) {
        ssize_t got = recv(fd, answer + size, sizeof(answer) - size, 0);
        assert_true(got > 0);
        size += (size_t)got;
    }
    assert_int_equal(hello_unpack(payload, &out), STATUS_OK);
    return out;
}
