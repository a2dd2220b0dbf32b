/* Peer links between two ends in this process: what arrives, what holds it up, and when a link comes back. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "link_fixture.h"

static const uint64_t WAIT_NS = WAIT_MS * 1000000ull;

/* Who sends: all of nng_stream_send goes through here (tests/unit/CMakeLists.txt). The tests' own thread is
 * the dialling shard's; what it has begun on a stream, and the socket did not take at once, one of nng's
 * threads may go on with. */
static struct {
    pthread_mutex_t lock;
    pthread_t shard;
    nng_stream *begun[64]; /* the streams on which the shard has sent */
    uint32_t begun_count;
    uint64_t by_shard, by_others; /* by_others: on any other stream, or before the shard did */
} sends = {.lock = PTHREAD_MUTEX_INITIALIZER};

void __real_nng_stream_send(nng_stream *stream, nng_aio *aio);
void __wrap_nng_stream_send(nng_stream *stream, nng_aio *aio);

void __wrap_nng_stream_send(nng_stream *stream, nng_aio *aio)
{
    bool begun = false;
    pthread_mutex_lock(&sends.lock);
    for (uint32_t i = 0; i < sends.begun_count && i < 64; i++) begun |= sends.begun[i] == stream;
    if (pthread_equal(pthread_self(), sends.shard)) {
        sends.by_shard++;
        if (!begun) sends.begun[sends.begun_count++ % 64] = stream;
    } else if (!begun) {
        sends.by_others++;
    }
    pthread_mutex_unlock(&sends.lock);
    __real_nng_stream_send(stream, aio);
}

static void sends_begin(void)
{
    pthread_mutex_lock(&sends.lock);
    sends.shard = pthread_self();
    sends.begun_count = 0;
    pthread_mutex_unlock(&sends.lock);
}

static uint64_t sends_by(bool shard)
{
    pthread_mutex_lock(&sends.lock);
    uint64_t count = shard ? sends.by_shard : sends.by_others;
    pthread_mutex_unlock(&sends.lock);
    return count;
}

static void transfer(const char *address, uint64_t count, size_t bytes_max)
{
    struct here here;
    struct there there;
    uint64_t seed = prng_entropy();
    printf("%s: seed %" PRIu64 "\n", address, seed);
    here_init(&here, address);
    there_init(&there, here.address, THERE, seed);
    sends_begin();
    assert_true(there_until(&there, true));
    uint64_t hellos = sends_by(true), answers = sends_by(false);
    here_expect(&here, seed, bytes_max);
    there.batch_bytes_max = bytes_max;
    there.to_send = count;
    links_ship(there.links, HERE);
    uint64_t until = uv_hrtime() + WAIT_NS;
    for (uint64_t i = 0; uv_hrtime() < until && here_got(&here) < count; i++) {
        uv_run(&there.uv, UV_RUN_NOWAIT);
        if (i % 8 == 0) usleep(1000);
        links_ship(there.links, HERE);
    }
    assert_int_equal(here_got(&here), count);
    assert_int_equal(there.ups, 1);
    assert_int_equal(there.downs, 0);
    /* The shard itself sends each batch, and nothing goes the other way: who was dialled only answers the
     * hello. */
    assert_true(sends_by(true) - hellos >= count);
    assert_int_equal(sends_by(false), answers);
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

/* It is where the configuration says, not where it said itself. */
static void dialled_as_configured(void **state)
{
    (void)state;
    struct here here = {0};
    struct there there;
    here_init(&here, "tcp://127.0.0.1:0");
    there_init(&there, "tcp://127.0.0.1:1", THERE, 6);
    links_set_peer(there.links, HERE, "here", "tcp://127.0.0.1:1", here.address);
    assert_true(there_until(&there, true));
    links_reset(there.links, HERE, "to see it come back");
    assert_true(there_until(&there, true));
    there_fini(&there);
    here_fini(&here);
}

/* It is at neither, for different reasons: each is said once, however often they are tried. */
static void two_reasons(void **state)
{
    (void)state;
    FILE *said = tmpfile();
    assert_non_null(said);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(said), STDERR_FILENO);
    log_set_level(LOG_LEVEL_WARN);
    struct there there;
    there_init(&there, "tcp://127.0.0.1:1", THERE, 7);
    links_set_peer(there.links, HERE, "here", "tcp://127.0.0.1:1", "ipc:///nowhere/at/all");
    for (int ms = 0; ms < 2000; ms++) {
        uv_run(&there.uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    there_fini(&there);
    log_set_level(LOG_LEVEL_ERROR);
    dup2(kept, STDERR_FILENO);
    close(kept);
    int lines = 0, c;
    rewind(said);
    while ((c = getc(said)) != EOF) lines += c == '\n';
    fclose(said);
    assert_int_equal(lines, 2);
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
    here_expect(&here, 7, BYTES);
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
    for (uint64_t i = 0; uv_hrtime() < until && here_got(&here) < BATCHES; i++) {
        links_ship(there.links, HERE);
        uv_run(&there.uv, UV_RUN_NOWAIT);
        if (i % 8 == 0) usleep(1000);
    }
    assert_int_equal(here_got(&here), BATCHES);

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
    here_expect(&here, 8, BYTES);
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
    stranger_put(other, too_long, sizeof(too_long));
    stranger_expect_end(other); /* it is read */
    hello.from_shard = MANY - 1, hello.to_shard = 0;
    int again = stranger_connect(&here); /* in place of one that still waits for its shard */
    assert_string_equal(stranger_hello(again, &hello).refused, "");
    stranger_expect_end(links[MANY - 1]);
    links[MANY - 1] = again;
    atomic_store(&here.readers[0].stuck, false);
    for (int i = 0; i < MANY; i++) {
        stranger_put(links[i], too_long, sizeof(too_long));
        stranger_expect_end(links[i]);
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
        cmocka_unit_test(taken_port),
        cmocka_unit_test(dialled_anew),
        cmocka_unit_test(dialled_as_configured),
        cmocka_unit_test(two_reasons),
        cmocka_unit_test(refused_until_a_member),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(heartbeats_beside_bulk),
        cmocka_unit_test(a_shard_that_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
