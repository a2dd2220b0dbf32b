#include "runtime/mailbox.h"

#include <nng/protocol/pair0/pair.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

enum {
    PARCEL_HEAD_BYTES = 16, /* in front of the payload: kind, descriptor, link */
    END_WAIT_MS = 5000,     /* for the next message of a queue that ends; it takes nng microseconds */
};

struct queue {
    nng_socket reader, writer;
    bool reader_open, writer_open;
    bool connected;
    int descriptor;
    atomic_size_t bytes; /* sent and not taken */
    nng_aio *send;       /* kept: a call with a flag would allocate one each time */
};

struct mailbox {
    uint32_t senders;
    nng_aio *receive;
    struct queue queues[];
};

nng_msg *parcel_pack(const struct parcel *parcel)
{
    nng_msg *msg;
    CHECK(nng_msg_alloc(&msg, PARCEL_HEAD_BYTES + parcel->payload.size) == 0);
    uint8_t *to = nng_msg_body(msg);
    put_be32(to, (uint32_t)parcel->kind);
    put_be32(to + 4, (uint32_t)parcel->fd);
    put_be64(to + 8, (uint64_t)(uintptr_t)parcel->link);
    if (parcel->payload.size > 0) memcpy(to + PARCEL_HEAD_BYTES, parcel->payload.data, parcel->payload.size);
    return msg;
}

void parcel_unpack(nng_msg *msg, struct parcel *out)
{
    CHECK(nng_msg_len(msg) >= PARCEL_HEAD_BYTES);
    const uint8_t *body = nng_msg_body(msg);
    *out = (struct parcel){
        .kind = (enum parcel_kind)get_be32(body),
        .fd = (int)get_be32(body + 4),
        .link = (struct accepted *)(uintptr_t)get_be64(body + 8),
        .payload = bytes_of(body + PARCEL_HEAD_BYTES, nng_msg_len(msg) - PARCEL_HEAD_BYTES),
        .msg = msg,
    };
}

void parcel_discard(nng_msg *msg)
{
    struct parcel parcel;
    parcel_unpack(msg, &parcel);
    if (parcel.kind == PARCEL_DESCRIPTOR) close(parcel.fd);
    nng_msg_free(msg);
}

/* A try: with no time to wait, nng answers ETIMEDOUT at once, on this thread. */
static nng_aio *try_aio(void)
{
    nng_aio *aio = NULL;
    if (nng_aio_alloc(&aio, NULL, NULL) != 0) return NULL;
    nng_aio_set_timeout(aio, NNG_DURATION_ZERO);
    return aio;
}

static bool queue_open(struct queue *queue)
{
    static atomic_uint_fast64_t
        serial; /* several nodes may live in one process: their queues need names of their own */
    char url[64];
    snprintf(url, sizeof(url), "inproc://dynode-mailbox-%llu",
             (unsigned long long)atomic_fetch_add(&serial, 1));
    if (nng_pair0_open(&queue->reader) != 0) return false;
    queue->reader_open = true;
    if (nng_pair0_open(&queue->writer) != 0) return false;
    queue->writer_open = true;
    queue->send = try_aio();
    queue->connected =
        queue->send != NULL && nng_socket_set_int(queue->reader, NNG_OPT_RECVBUF, MAILBOX_BUFFER) == 0 &&
        nng_socket_set_int(queue->writer, NNG_OPT_SENDBUF, MAILBOX_BUFFER) == 0 &&
        nng_listen(queue->reader, url, NULL, 0) == 0 && nng_dial(queue->writer, url, NULL, 0) == 0;
    return queue->connected && nng_socket_get_int(queue->reader, NNG_OPT_RECVFD, &queue->descriptor) == 0;
}

enum status mailbox_alloc(uint32_t senders, struct mailbox **out)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox) + senders * sizeof(struct queue));
    if (mailbox == NULL) return STATUS_NO_MEMORY;
    mailbox->senders = senders;
    mailbox->receive = try_aio();
    bool ok = mailbox->receive != NULL;
    for (uint32_t i = 0; i < senders && ok; i++) ok = queue_open(&mailbox->queues[i]);
    if (!ok) {
        mailbox_free(mailbox);
        return STATUS_NO_MEMORY;
    }
    *out = mailbox;
    return STATUS_OK;
}

static nng_msg *receive(struct mailbox *mailbox, const struct queue *queue)
{
    nng_recv_aio(queue->reader, mailbox->receive);
    nng_aio_wait(mailbox->receive);
    return nng_aio_result(mailbox->receive) == 0 ? nng_aio_get_msg(mailbox->receive) : NULL;
}

/* Take all that was sent. A message between the two sockets when they are closed would be lost: nng takes the
 * next one of the writer's buffer for a pipe that it is closing, cannot send it, and forgets it. So an empty
 * message, which no parcel is, follows the last: the queue keeps its order, and when that one has arrived
 * nothing is on its way. */
static void queue_empty(struct mailbox *mailbox, struct queue *queue)
{
    nng_msg *end, *msg;
    CHECK(nng_msg_alloc(&end, 0) == 0);
    nng_aio_set_timeout(mailbox->receive, END_WAIT_MS);
    nng_aio_set_timeout(queue->send, END_WAIT_MS);
    nng_aio_set_msg(queue->send, end);
    nng_send_aio(queue->writer, queue->send); /* waits for room while the queue is emptied below */
    while ((msg = receive(mailbox, queue)) != NULL && nng_msg_len(msg) > 0) parcel_discard(msg);
    nng_aio_wait(queue->send);
    if (nng_aio_result(queue->send) != 0) nng_msg_free(end);
    if (msg != NULL)
        nng_msg_free(msg);
    else
        log_line(LOG_LEVEL_ERROR, "a queue between threads ended with messages on their way: %s",
                 nng_strerror(nng_aio_result(mailbox->receive)));
}

void mailbox_free(struct mailbox *mailbox)
{
    for (uint32_t i = 0; i < mailbox->senders; i++) {
        struct queue *queue = &mailbox->queues[i];
        if (queue->connected) queue_empty(mailbox, queue);
        if (queue->writer_open) nng_close(queue->writer);
        if (queue->reader_open) nng_close(queue->reader);
        nng_aio_free(queue->send);
    }
    nng_aio_free(mailbox->receive);
    free(mailbox);
}

uint32_t mailbox_senders(const struct mailbox *mailbox)
{
    return mailbox->senders;
}

int mailbox_descriptor(const struct mailbox *mailbox, uint32_t sender)
{
    CHECK(sender < mailbox->senders);
    return mailbox->queues[sender].descriptor;
}

bool mailbox_take(struct mailbox *mailbox, uint32_t sender, struct parcel *out)
{
    CHECK(sender < mailbox->senders);
    nng_msg *msg = receive(mailbox, &mailbox->queues[sender]);
    if (msg == NULL) return false;
    atomic_fetch_sub(&mailbox->queues[sender].bytes, nng_msg_len(msg));
    parcel_unpack(msg, out);
    return true;
}

bool mailbox_try_send(struct mailbox *mailbox, uint32_t sender, nng_msg **msg)
{
    CHECK(sender < mailbox->senders);
    struct queue *queue = &mailbox->queues[sender];
    size_t size = nng_msg_len(*msg), before = atomic_fetch_add(&queue->bytes, size);
    bool sent = before == 0 || before + size <= MAILBOX_BYTES_MAX;
    if (sent) {
        nng_aio_set_msg(queue->send, *msg);
        nng_send_aio(queue->writer, queue->send);
        nng_aio_wait(queue->send);
        sent = nng_aio_result(queue->send) == 0;
    }
    if (!sent) {
        atomic_fetch_sub(&queue->bytes, size);
        return false;
    }
    *msg = NULL;
    return true;
}
