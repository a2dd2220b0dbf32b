#include "runtime/acceptor.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "runtime/descriptor.h"

enum { ACCEPT_PAUSE_MS = 100, LEND_PAUSE_MS = 10 };

enum entry_state {
    ENTRY_HELLO,
    ENTRY_ANSWER,
    ENTRY_REFUSAL,
    ENTRY_OPEN, /* to be lent: its shard's mailbox is full */
    ENTRY_LENT,
    ENTRY_ENDING, /* lent, and its stream is closed: the borrower will notice */
};

/* One connection. */
struct entry {
    struct accepted accepted; /* the borrower's while it is lent */
    struct acceptor *acceptor;
    struct entry *next, *previous; /* of all; the keeper's */
    struct entry *next_event;
    bool has_event; /* under the acceptor's lock */

    enum entry_state state; /* the keeper's */
    uint64_t hello_until_ms;
    uint8_t answer[HELLO_FRAME_BYTES_MAX];
    size_t answer_size, answer_sent;
    nng_aio *receive, *send; /* of the handshake */
    const char *end;         /* the borrower's last word */
};

struct acceptor {
    struct hello self;
    uint32_t shards;
    struct mailbox *const *mailboxes;
    nng_stream_listener *listener;
    nng_aio *accept;
    pthread_t keeper;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct entry *events; /* who has something for the keeper */
    bool accepted, stopping;
    uint64_t *members; /* NULL: not known yet, and nothing is accepted */
    uint32_t member_count;

    struct entry *all; /* the keeper's from here on */
    uint32_t count, half_open;
    uint64_t lend_ms; /* when those that are open are tried again; 0: none is */
    struct log_rate rate;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- other threads: nng's callbacks, borrowers --- */

static void tell_keeper(struct entry *entry)
{
    struct acceptor *acceptor = entry->acceptor;
    pthread_mutex_lock(&acceptor->lock);
    if (!entry->has_event) {
        entry->has_event = true;
        entry->next_event = acceptor->events;
        acceptor->events = entry;
        pthread_cond_signal(&acceptor->changed);
    }
    pthread_mutex_unlock(&acceptor->lock);
}

static void on_accept(void *argument)
{
    struct acceptor *acceptor = argument;
    pthread_mutex_lock(&acceptor->lock);
    acceptor->accepted = true;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
}

static void on_handshake(void *argument)
{
    tell_keeper(argument);
}

void acceptor_ended(struct acceptor *acceptor, struct accepted *accepted, const char *why)
{
    struct entry *entry = (struct entry *)accepted; /* its first member */
    CHECK(entry->acceptor == acceptor);
    entry->end = why;
    tell_keeper(entry);
}

/* --- the keeper --- */

static void entry_free(struct entry *entry)
{
    struct acceptor *acceptor = entry->acceptor;
    if (entry->previous != NULL)
        entry->previous->next = entry->next;
    else
        acceptor->all = entry->next;
    if (entry->next != NULL) entry->next->previous = entry->previous;
    acceptor->count--;
    if (entry->state == ENTRY_HELLO) acceptor->half_open--;

    nng_stream_close(entry->accepted.stream);
    nng_aio_stop(entry->receive);
    nng_aio_stop(entry->send);
    pthread_mutex_lock(&acceptor->lock);
    for (struct entry **at = &acceptor->events; *at != NULL; at = &(*at)->next_event) {
        if (*at != entry) continue;
        *at = entry->next_event;
        break;
    }
    pthread_mutex_unlock(&acceptor->lock);
    nng_aio_free(entry->receive);
    nng_aio_free(entry->send);
    nng_stream_free(entry->accepted.stream);
    if (entry->accepted.descriptor >= 0) close(entry->accepted.descriptor);
    buffer_fini(&entry->accepted.in);
    free(entry);
}

static void log_drop(struct entry *entry, enum log_level level, const char *why)
{
    if (entry->accepted.hello.node == 0)
        log_line_rated(&entry->acceptor->rate, level, "peer port: a connection was closed: %s", why);
    else
        log_line_rated(&entry->acceptor->rate, level,
                       "peer port: link from shard %u of node %016" PRIx64 ": %s",
                       entry->accepted.hello.from_shard, entry->accepted.hello.node, why);
}

static void drop(struct entry *entry, enum log_level level, const char *why)
{
    log_drop(entry, level, why);
    entry_free(entry);
}

static void receive_hello(struct entry *entry)
{
    uint64_t now = now_ms();
    if (now >= entry->hello_until_ms) {
        drop(entry, LOG_LEVEL_WARN, "no hello came in time");
        return;
    }
    nng_aio_set_timeout(entry->receive, (nng_duration)(entry->hello_until_ms - now));
    nng_iov iov = {.iov_buf = buffer_reserve(&entry->accepted.in, HELLO_FRAME_BYTES_MAX),
                   .iov_len = HELLO_FRAME_BYTES_MAX};
    CHECK(nng_aio_set_iov(entry->receive, 1, &iov) == 0);
    nng_stream_recv(entry->accepted.stream, entry->receive);
}

static void take_in(struct acceptor *acceptor, nng_stream *stream)
{
    if (acceptor->half_open >= ACCEPTOR_HALF_OPEN_MAX || acceptor->count >= ACCEPTOR_LINKS_MAX) {
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: a connection was closed: %s",
                       acceptor->count >= ACCEPTOR_LINKS_MAX ? "too many links"
                                                             : "too many that sent no hello yet");
        nng_stream_close(stream);
        nng_stream_free(stream);
        return;
    }
    struct entry *entry = calloc(1, sizeof(*entry));
    CHECK(entry != NULL);
    entry->acceptor = acceptor;
    entry->accepted.stream = stream;
    entry->accepted.descriptor = -1;
    CHECK(nng_aio_alloc(&entry->receive, on_handshake, entry) == 0);
    CHECK(nng_aio_alloc(&entry->send, on_handshake, entry) == 0);
    entry->hello_until_ms = now_ms() + ACCEPTOR_HELLO_MS;
    entry->next = acceptor->all;
    if (acceptor->all != NULL) acceptor->all->previous = entry;
    acceptor->all = entry;
    acceptor->count++;
    acceptor->half_open++;
    receive_hello(entry);
}

static bool is_member(struct acceptor *acceptor, uint64_t node)
{
    bool found = false;
    pthread_mutex_lock(&acceptor->lock);
    for (uint32_t i = 0; i < acceptor->member_count && !found; i++) found = acceptor->members[i] == node;
    pthread_mutex_unlock(&acceptor->lock);
    return found;
}

/* End a link, whoever has it. */
static void part(struct entry *entry, enum log_level level, const char *why)
{
    if (entry->state == ENTRY_LENT) {
        log_drop(entry, level, why);
        entry->state = ENTRY_ENDING;
        atomic_store(&entry->accepted.closed, true);
        nng_stream_close(entry->accepted.stream);
    } else {
        drop(entry, level, why);
    }
}

/* Is the node already here? An earlier link of the same process and shard is dead for its dialler, which has
 * one at a time; of another process it counts while it lives. */
static bool admit_once(struct entry *entry, char why[HELLO_WHY_BYTES])
{
    const struct hello *hello = &entry->accepted.hello;
    struct entry *next;
    for (struct entry *other = entry->acceptor->all; other != NULL; other = next) {
        next = other->next;
        if (other == entry || other->state == ENTRY_HELLO || other->state == ENTRY_REFUSAL ||
            other->state == ENTRY_ENDING || other->accepted.hello.node != hello->node)
            continue;
        if (other->accepted.hello.incarnation == hello->incarnation) {
            if (other->accepted.hello.from_shard == hello->from_shard &&
                other->accepted.hello.beats == hello->beats)
                part(other, LOG_LEVEL_INFO, "it was dialled again, and the old one ends");
        } else if (now_ms() < atomic_load(&other->accepted.heard_ms) + ACCEPTOR_ALIVE_MS) {
            snprintf(why, HELLO_WHY_BYTES,
                     "another process with node id %016" PRIx64 " is connected (incarnation %" PRIu64
                     ", this is %" PRIu64 "): two nodes must not share one data directory or id",
                     hello->node, other->accepted.hello.incarnation, hello->incarnation);
            return false;
        } else {
            part(other, LOG_LEVEL_WARN, "it was silent, and the node has started anew");
        }
    }
    return true;
}

static void send_answer(struct entry *entry)
{
    nng_iov iov = {.iov_buf = entry->answer + entry->answer_sent,
                   .iov_len = entry->answer_size - entry->answer_sent};
    CHECK(nng_aio_set_iov(entry->send, 1, &iov) == 0);
    nng_aio_set_timeout(entry->send, ACCEPTOR_HELLO_MS);
    nng_stream_send(entry->accepted.stream, entry->send);
}

static void judge(struct entry *entry)
{
    struct acceptor *acceptor = entry->acceptor;
    struct hello self = acceptor->self;
    self.from_shard = entry->accepted.hello.to_shard % acceptor->shards;
    self.to_shard = entry->accepted.hello.from_shard;
    bool welcome = hello_agree(&acceptor->self, &entry->accepted.hello, self.refused);
    if (welcome && !is_member(acceptor, entry->accepted.hello.node)) {
        snprintf(self.refused, sizeof(self.refused), "node id %016" PRIx64 " is no member of this cluster",
                 entry->accepted.hello.node);
        welcome = false;
    }
    if (welcome) welcome = admit_once(entry, self.refused);
    if (!welcome)
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: node %016" PRIx64 " was refused: %s",
                       entry->accepted.hello.node, self.refused);
    entry->state = welcome ? ENTRY_ANSWER : ENTRY_REFUSAL;
    acceptor->half_open--;
    atomic_store(&entry->accepted.heard_ms, now_ms());
    entry->answer_size = hello_pack(&self, entry->answer);
    send_answer(entry);
}

static void hello_came(struct entry *entry)
{
    int error = nng_aio_result(entry->receive);
    if (error != 0) {
        drop(entry, LOG_LEVEL_WARN,
             error == NNG_ETIMEDOUT ? "no hello came in time" : "it ended before its hello");
        return;
    }
    entry->accepted.in.size += nng_aio_count(entry->receive);
    struct bytes payload;
    size_t bytes;
    switch (frame_next(buffer_bytes(&entry->accepted.in), FRAME_HELLO_BYTES_MAX, &payload, &bytes)) {
    case FRAME_PARTIAL:
        receive_hello(entry);
        return;
    case FRAME_BAD:
        drop(entry, LOG_LEVEL_WARN, "it does not speak dynode's peer protocol");
        return;
    case FRAME_WHOLE:
        break;
    }
    struct hello hello;
    if (hello_unpack(payload, &hello) != STATUS_OK || hello.node == 0) {
        drop(entry, LOG_LEVEL_WARN, "it does not speak dynode's peer protocol");
        return;
    }
    entry->accepted.hello = hello;
    buffer_consume(&entry->accepted.in, bytes);
    judge(entry);
}

/* A shard drains its mailbox, unless it stands still, as while it opens a new store: then its links wait, and
 * only they. */
static void lend(struct entry *entry)
{
    struct acceptor *acceptor = entry->acceptor;
    struct mailbox *mailbox = acceptor->mailboxes[entry->accepted.hello.to_shard % acceptor->shards];
    nng_msg *msg = parcel_pack(&(struct parcel){.kind = PARCEL_LINK, .link = &entry->accepted});
    if (mailbox_try_send(mailbox, mailbox_senders(mailbox) - 1, &msg)) {
        entry->state = ENTRY_LENT;
        return;
    }
    nng_msg_free(msg);
    entry->state = ENTRY_OPEN;
    acceptor->lend_ms = now_ms() + LEND_PAUSE_MS;
}

static void lend_open(struct acceptor *acceptor)
{
    acceptor->lend_ms = 0;
    for (struct entry *entry = acceptor->all; entry != NULL; entry = entry->next)
        if (entry->state == ENTRY_OPEN) lend(entry);
}

static void answer_went(struct entry *entry)
{
    int error = nng_aio_result(entry->send);
    if (error != 0) {
        drop(entry, LOG_LEVEL_WARN, nng_strerror(error));
        return;
    }
    entry->answer_sent += nng_aio_count(entry->send);
    if (entry->answer_sent < entry->answer_size) {
        send_answer(entry);
    } else if (entry->state == ENTRY_REFUSAL) {
        entry_free(entry);
    } else {
        log_line(LOG_LEVEL_DEBUG, "peer port: link from shard %u of node %016" PRIx64 ": open",
                 entry->accepted.hello.from_shard, entry->accepted.hello.node);
        entry->accepted.descriptor = descriptor_of(entry->accepted.stream);
        lend(entry);
    }
}

static void handle(struct entry *entry)
{
    switch (entry->state) {
    case ENTRY_HELLO:
        hello_came(entry);
        break;
    case ENTRY_ANSWER:
    case ENTRY_REFUSAL:
        answer_went(entry);
        break;
    case ENTRY_OPEN:
        CHECK(false); /* nothing of it is under way */
    case ENTRY_LENT:
        drop(entry, LOG_LEVEL_INFO, entry->end);
        break;
    case ENTRY_ENDING:
        entry_free(entry);
        break;
    }
}

static void handle_accept(struct acceptor *acceptor)
{
    int error = nng_aio_result(acceptor->accept);
    if (error == 0) {
        take_in(acceptor, nng_aio_get_output(acceptor->accept, 0));
    } else {
        log_line_rated(&acceptor->rate, LOG_LEVEL_WARN, "peer port: can't accept: %s", nng_strerror(error));
        nanosleep(&(struct timespec){.tv_nsec = ACCEPT_PAUSE_MS * 1000000L},
                  NULL); /* out of descriptors, mostly */
    }
    nng_stream_listener_accept(acceptor->listener, acceptor->accept);
}

/* Wait for an event, or until it is time to lend again. Under the lock. */
static void rest(struct acceptor *acceptor)
{
    if (acceptor->lend_ms == 0) {
        pthread_cond_wait(&acceptor->changed, &acceptor->lock);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(acceptor->lend_ms / 1000),
                             .tv_nsec = (long)(acceptor->lend_ms % 1000) * 1000000};
    pthread_cond_timedwait(&acceptor->changed, &acceptor->lock, &until);
}

static void *keep(void *argument)
{
    struct acceptor *acceptor = argument;
    pthread_setname_np(pthread_self(), "keeper");
    pthread_mutex_lock(&acceptor->lock);
    while (acceptor->members == NULL && !acceptor->stopping)
        pthread_cond_wait(&acceptor->changed, &acceptor->lock);
    if (!acceptor->stopping) nng_stream_listener_accept(acceptor->listener, acceptor->accept);
    while (!acceptor->stopping) {
        struct entry *entry = acceptor->events;
        bool lend_now = acceptor->lend_ms != 0 && now_ms() >= acceptor->lend_ms;
        if (entry == NULL && !acceptor->accepted && !lend_now) {
            rest(acceptor);
            continue;
        }
        bool accepted = entry == NULL && acceptor->accepted;
        if (entry != NULL) {
            acceptor->events = entry->next_event;
            entry->has_event = false;
        }
        if (accepted) acceptor->accepted = false;
        pthread_mutex_unlock(&acceptor->lock);
        if (entry != NULL) handle(entry);
        if (accepted) handle_accept(acceptor);
        if (lend_now) lend_open(acceptor);
        pthread_mutex_lock(&acceptor->lock);
    }
    pthread_mutex_unlock(&acceptor->lock);
    return NULL;
}

enum status acceptor_start(const struct acceptor_options *options, char *why, size_t why_bytes,
                           struct acceptor **out)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    CHECK(acceptor != NULL);
    acceptor->self = options->self;
    acceptor->shards = options->shards;
    acceptor->mailboxes = options->mailboxes;
    int error = nng_stream_listener_alloc(&acceptor->listener, options->address);
    if (error == 0) error = nng_stream_listener_listen(acceptor->listener);
    if (error != 0) {
        snprintf(why, why_bytes, "can't listen for peers on %s: %s", options->address, nng_strerror(error));
        if (acceptor->listener != NULL) nng_stream_listener_free(acceptor->listener);
        free(acceptor);
        return error == NNG_EADDRINUSE ? STATUS_IN_USE : STATUS_INVALID;
    }
    CHECK(nng_aio_alloc(&acceptor->accept, on_accept, acceptor) == 0);
    pthread_mutex_init(&acceptor->lock, NULL);
    pthread_condattr_t clock; /* that of now_ms */
    pthread_condattr_init(&clock);
    CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    pthread_cond_init(&acceptor->changed, &clock);
    pthread_condattr_destroy(&clock);
    CHECK(pthread_create(&acceptor->keeper, NULL, keep, acceptor) == 0);
    *out = acceptor;
    return STATUS_OK;
}

void acceptor_set_members(struct acceptor *acceptor, const uint64_t *nodes, uint32_t count)
{
    uint64_t *copy = malloc(count * sizeof(*copy) + 1);
    CHECK(copy != NULL);
    if (count > 0) memcpy(copy, nodes, count * sizeof(*copy));
    pthread_mutex_lock(&acceptor->lock);
    free(acceptor->members);
    acceptor->members = copy;
    acceptor->member_count = count;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
}

uint16_t acceptor_port(const struct acceptor *acceptor)
{
    int port = 0;
    if (nng_stream_listener_get_int(acceptor->listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0) return 0;
    return (uint16_t)port;
}

void acceptor_stop(struct acceptor *acceptor)
{
    pthread_mutex_lock(&acceptor->lock);
    acceptor->stopping = true;
    pthread_cond_signal(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
    pthread_join(acceptor->keeper, NULL);

    nng_stream_listener_close(acceptor->listener);
    nng_aio_stop(acceptor->accept);
    if (acceptor->accepted && nng_aio_result(acceptor->accept) == 0) {
        nng_stream *stream = nng_aio_get_output(acceptor->accept, 0);
        nng_stream_close(stream);
        nng_stream_free(stream);
    }
    while (acceptor->all != NULL) entry_free(acceptor->all);
    nng_aio_free(acceptor->accept);
    nng_stream_listener_free(acceptor->listener);
    pthread_mutex_destroy(&acceptor->lock);
    pthread_cond_destroy(&acceptor->changed);
    free(acceptor->members);
    free(acceptor);
}
