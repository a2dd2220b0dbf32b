/* What only the WiredTiger engine promises: its directory belongs to one process, damage of any kind ends in
 * a status and never in a dead or a chatty process, and a broken store can be moved aside. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wiredtiger.h>

#include "base/check.h"
#include "store_test.h"

enum { RECORDS = 3000 };

/* WiredTiger closes a store after a panic, its files and lock, but leaks some of the memory. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libwiredtiger";
}

static const struct bytes nothing = {NULL, 0};
static uint64_t seed;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->engine = ENGINE_BTREE;
    f->seed = seed;
    fixture_init(f);
    *state = f;
    return 0;
}

/* What is said on stdout and stderr goes to a file, and back again; a test that fails in between is heard all
 * the same. */
static int loud[2] = {-1, -1}, quiet = -1;

static void hush(const struct fixture *f)
{
    char said[300];
    snprintf(said, sizeof said, "%s/said", f->root);
    quiet = open(said, O_CREAT | O_RDWR | O_APPEND, 0600);
    assert_true(quiet >= 0);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        loud[i] = dup(1 + i);
        assert_int_equal(dup2(quiet, 1 + i), 1 + i);
    }
}

/* Returns how many bytes were said, and says them. */
static size_t unhush(void)
{
    char text[4096];
    size_t bytes = 0;
    if (quiet < 0) return 0;
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(loud[i], 1 + i);
        close(loud[i]);
    }
    for (ssize_t n; (n = pread(quiet, text, sizeof text, (off_t)bytes)) > 0; bytes += (size_t)n)
        fwrite(text, 1, (size_t)n, stderr);
    close(quiet);
    quiet = -1;
    return bytes;
}

static int teardown(void **state)
{
    unhush();
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void shut(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static struct bytes record_key(uint8_t key[38], uint32_t i)
{
    memset(key, 'k', 38);
    put_be32(key, i);
    return bytes_of(key, 38);
}

static struct bytes record_value(uint8_t value[240], uint32_t i)
{
    struct prng prng;
    prng_init(&prng, i);
    for (int j = 0; j < 240; j += 8) put_be64(value + j, prng_next(&prng));
    return bytes_of(value, 240);
}

static void fill(struct fixture *f)
{
    uint8_t key[38], value[240];
    for (uint32_t i = 0; i < RECORDS; i++) {
        assert_int_equal(store_put(f->store, STORE_OBJECTS, record_key(key, i), record_value(value, i)),
                         STATUS_OK);
        if (i % 250 == 249) assert_int_equal(store_commit(f->store), STATUS_OK);
    }
    assert_int_equal(store_commit(f->store), STATUS_OK);
    assert_int_equal(store_sync(f->store), STATUS_OK);
}

/* Read everything. Each answer must be right, absent or STATUS_STORE_BROKEN, and broken is for good. */
static enum status read_all(struct fixture *f, uint32_t *right)
{
    uint8_t key[38], value[240];
    bool was_broken = false;
    *right = 0;
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct bytes found;
        enum status status = store_get(f->store, STORE_OBJECTS, record_key(key, i), &f->arena, &found);
        if (was_broken) assert_int_equal(status, STATUS_STORE_BROKEN);
        if (status == STATUS_OK)
            *right += bytes_equal(found, record_value(value, i)) ? 1 : 0;
        else
            assert_true(status == STATUS_NOT_FOUND || status == STATUS_STORE_BROKEN);
        was_broken = status == STATUS_STORE_BROKEN;
    }
    arena_reset(&f->arena);
    if (!was_broken) return STATUS_OK;
    assert_true(strlen(store_error(f->store)) > 10);
    assert_int_equal(store_put(f->store, STORE_OBJECTS, record_key(key, 1), nothing), STATUS_STORE_BROKEN);
    assert_int_equal(store_commit(f->store), STATUS_STORE_BROKEN);
    assert_int_equal(store_sync(f->store), STATUS_STORE_BROKEN);
    return STATUS_STORE_BROKEN;
}

static void file_path(const struct fixture *f, const char *name, char path[1024])
{
    snprintf(path, 1024, "%s/%s", f->path, name);
}

static void flip_bit(const struct fixture *f, const char *name, struct prng *prng)
{
    char path[1024];
    struct stat file;
    uint8_t byte;
    file_path(f, name, path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    off_t at = (off_t)prng_below(prng, (uint64_t)file.st_size);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)(byte ^ (1u << prng_below(prng, 8)));
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void cut_file(const struct fixture *f, const char *name, struct prng *prng)
{
    char path[1024];
    struct stat file;
    file_path(f, name, path);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(truncate(path, (off_t)prng_below(prng, (uint64_t)file.st_size)), 0);
}

static void lose_file(const struct fixture *f, const char *name, struct prng *prng)
{
    (void)prng;
    char path[1024];
    file_path(f, name, path);
    assert_int_equal(unlink(path), 0);
}

/* One bit of the file that WiredTiger trusts: 3.2.1 smashed its stack over it. */
static void hide_formats(const struct fixture *f, const char *name, struct prng *prng)
{
    (void)prng;
    char path[1024], text[4096] = "";
    file_path(f, name, path);
    FILE *file = fopen(path, "r+b");
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    char *format = strstr(text, "value_format=S");
    assert_non_null(format);
    fseek(file, format + 7 - text, SEEK_SET);
    fputc('F' ^ 2, file);
    fclose(file);
}

typedef void damage(const struct fixture *f, const char *name, struct prng *prng);

/* A bit of the version in WiredTiger.turtle makes the store one of a WiredTiger to come: not moved aside. */
static bool refusal(enum status status)
{
    return status == STATUS_STORE_BROKEN || status == STATUS_INVALID;
}

/* Damage a copy of the closed store @rounds times; returns how often it was noticed. */
static int damage_rounds(struct fixture *f, const char *name, damage *do_damage, int rounds)
{
    char good[sizeof f->path];
    int noticed = 0;
    memcpy(good, f->path, sizeof good);
    for (int round = 0; round < rounds; round++) {
        uint32_t right;
        snprintf(f->path, sizeof f->path, "%s/%d", f->root, ++f->lives);
        directory_copy(good, f->path);
        do_damage(f, name, &f->prng);
        enum status status = fixture_open(f);
        if (status == STATUS_OK) {
            status = read_all(f, &right);
            if (status == STATUS_OK && right < RECORDS) status = STATUS_NOT_FOUND;
            shut(f);
        } else {
            assert_true(refusal(status));
        }
        enum status again = fixture_open(f); /* however it ended, the lock is free */
        assert_true(again == STATUS_OK || refusal(again));
        if (again == STATUS_OK) shut(f);
        noticed += status != STATUS_OK;
        directory_remove(f->path);
    }
    memcpy(f->path, good, sizeof good);
    return noticed;
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Damage to the data of a closed store. WiredTiger says nothing on stdout or stderr. */
static void test_damage(void **state)
{
    struct fixture *f = *state;
    fill(f);
    shut(f);
    hush(f);
    int before = descriptors();
    int flips = damage_rounds(f, "objects.wt", flip_bit, 20);
    int cuts = damage_rounds(f, "objects.wt", cut_file, 8);
    int lost = damage_rounds(f, "objects.wt", lose_file, 1);
    damage_rounds(f, "meta.wt", flip_bit, 4);
    damage_rounds(f, "WiredTiger.turtle", flip_bit, 10);
    damage_rounds(f, "WiredTiger.turtle", hide_formats, 1);
    damage_rounds(f, "WiredTiger.turtle", cut_file, 5);
    damage_rounds(f, "WiredTiger.turtle", lose_file, 1);
    damage_rounds(f, "WiredTiger.wt", flip_bit, 10);
    damage_rounds(f, "WiredTiger.wt", cut_file, 5);
    lost += damage_rounds(f, "WiredTiger.wt", lose_file, 1);
    int after = descriptors();
    assert_int_equal(unhush(), 0);
    assert_int_equal(after, before);
    assert_true(flips >= 10); /* free blocks take the rest */
    assert_true(cuts >= 4);
    assert_int_equal(lost, 2);
}

/* Damage to the log that a power cut leaves: all or less is there, and none of it wrong. */
static void test_damaged_log(void **state)
{
    struct fixture *f = *state;
    uint32_t right;
    fill(f);
    char live[sizeof f->path];
    memcpy(live, f->path, sizeof live);
    snprintf(f->path, sizeof f->path, "%s/%d", f->root, ++f->lives);
    directory_copy(live, f->path);
    shut(f);
    assert_true(damage_rounds(f, "WiredTigerLog.0000000001", cut_file, 3) <= 3);
    damage_rounds(f, "WiredTigerLog.0000000001", flip_bit, 10);
    assert_int_equal(fixture_open(f), STATUS_OK);
    assert_int_equal(read_all(f, &right), STATUS_OK);
    assert_int_equal(right, RECORDS);
}

static void test_garbage_does_not_open(void **state)
{
    static const char *const names[] = {"WiredTiger", "WiredTiger.turtle", "WiredTiger.wt", "objects.wt",
                                        "meta.wt"};
    struct fixture *f = *state;
    shut(f);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1024];
        file_path(f, names[i], path);
        FILE *file = fopen(path, "wb");
        for (int j = 0; j < 20000; j++) fputc((int)prng_below(&f->prng, 256), file);
        fclose(file);
    }
    assert_int_equal(fixture_open(f), STATUS_STORE_BROKEN);
    assert_int_equal(fixture_open(f), STATUS_STORE_BROKEN); /* nothing is left locked */
    char moved[1024], again[1024];
    struct stat file;
    assert_int_equal(store_wt_set_aside(f->path, moved, sizeof moved), STATUS_OK);
    assert_int_equal(strncmp(moved, f->path, strlen(f->path)), 0);
    assert_non_null(strstr(moved, ".broken-20"));
    assert_int_equal(stat(moved, &file), 0);
    assert_int_equal(fixture_open(f), STATUS_OK);
    shut(f);
    assert_int_equal(store_wt_set_aside(f->path, again, sizeof again),
                     STATUS_OK); /* the same second, most likely */
    assert_string_not_equal(moved, again);
    assert_int_equal(stat(again, &file), 0);
    assert_int_equal(store_wt_set_aside(f->path, again, sizeof again),
                     STATUS_INVALID); /* there is none now */
}

static void test_what_cannot_be_a_store(void **state)
{
    struct fixture *f = *state;
    shut(f);
    char good[sizeof f->path];
    memcpy(good, f->path, sizeof good);
    snprintf(f->path, sizeof f->path, "%s/no/such", f->root);
    assert_int_equal(fixture_open(f), STATUS_INVALID);
    snprintf(f->path, sizeof f->path, "%s/0/objects.wt", f->root);
    assert_int_equal(fixture_open(f), STATUS_INVALID);
    memcpy(f->path, good, sizeof good);
    f->options.cache_bytes = 1000;
    assert_int_equal(fixture_open(f), STATUS_INVALID);
    f->options.cache_bytes = 16u << 20;
    f->options.lsm = true;
    assert_int_equal(fixture_open(f), STATUS_INVALID);
    f->options.lsm = false;
    struct stat file;
    char path[1024];
    assert_int_equal(fixture_open(f), STATUS_OK);
    assert_int_equal(stat(f->path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0700);
    file_path(f, "objects.wt", path);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0077, 0);
}

/* The other process has it first, so that it is the lock that refuses and not this process's own list of
 * stores. */
static void test_two_processes(void **state)
{
    struct fixture *f = *state;
    shut(f);
    int opened[2], done[2];
    char byte = 0;
    assert_int_equal(pipe(opened), 0);
    assert_int_equal(pipe(done), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(done[1]);
        byte = fixture_open(f) == STATUS_OK;
        if (write(opened[1], &byte, 1) == 1 && read(done[0], &byte, 1) >= 0) _exit(0);
        _exit(1);
    }
    close(done[0]);
    assert_int_equal(read(opened[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    assert_int_equal(fixture_open(f), STATUS_IN_USE);
    assert_int_equal(fixture_open(f), STATUS_IN_USE);
    close(done[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(opened[0]), close(opened[1]);
    assert_int_equal(fixture_open(f), STATUS_OK); /* the lock went with the process */
    struct store *first = f->store;
    assert_int_equal(fixture_open(f), STATUS_IN_USE); /* twice in one process */
    f->store = first;
}

/* Below the reserve growth is refused, reading and removing go on. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    uint8_t key[38], value[240];
    uint32_t right;
    fill(f);
    shut(f);
    f->options.reserve_bytes = UINT64_MAX;
    assert_int_equal(fixture_open(f), STATUS_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_put(f->store, STORE_OBJECTS, record_key(key, 1), record_value(value, 2)),
                         STATUS_NO_SPACE);
    assert_non_null(strstr(store_full_text(f->store), "store.reserve keeps 17592186044415MB free"));
    assert_int_equal(store_staged_bytes(f->store), 0);
    store_remove(f->store, STORE_OBJECTS, record_key(key, 0));
    assert_int_equal(store_commit(f->store), STATUS_OK);
    assert_int_equal(store_sync(f->store), STATUS_OK);
    assert_int_equal(read_all(f, &right), STATUS_OK);
    assert_int_equal(right, RECORDS - 1);
}

struct flusher {
    struct store *store;
    _Atomic bool stop;
    int syncs;
};

/* A directory that was made before there were hints: it opens, all is there, and the table is made. */
static void test_older_directory(void **state)
{
    struct fixture *f = *state;
    WT_CONNECTION *connection;
    WT_SESSION *session;
    uint32_t right;
    struct bytes found;
    fill(f);
    shut(f);
    assert_int_equal(wiredtiger_open(f->path, NULL, "log=(enabled)", &connection), 0);
    assert_int_equal(connection->open_session(connection, NULL, NULL, &session), 0);
    assert_int_equal(session->drop(session, "table:hints", NULL), 0);
    assert_int_equal(connection->close(connection, NULL), 0);
    assert_int_equal(fixture_open(f), STATUS_OK);
    assert_int_equal(read_all(f, &right), STATUS_OK);
    assert_int_equal(right, RECORDS);
    assert_int_equal(store_put(f->store, STORE_HINTS, bytes_str("key"), bytes_str("value")), STATUS_OK);
    assert_int_equal(store_commit(f->store), STATUS_OK);
    fixture_reopen(f);
    assert_int_equal(store_get(f->store, STORE_HINTS, bytes_str("key"), &f->arena, &found), STATUS_OK);
    assert_true(bytes_equal(found, bytes_str("value")));
}

static void *flusher_run(void *context)
{
    struct flusher *flusher = context;
    do CHECK(store_sync(flusher->store) == STATUS_OK);
    while (++flusher->syncs < 10000 && !flusher->stop);
    return NULL;
}

/* A flusher syncs while the shard's thread reads, writes, commits and syncs as well. */
static void test_flusher_thread(void **state)
{
    struct fixture *f = *state;
    struct flusher flusher = {.store = f->store};
    pthread_t thread;
    uint32_t right;
    assert_int_equal(pthread_create(&thread, NULL, flusher_run, &flusher), 0);
    fill(f);
    assert_int_equal(read_all(f, &right), STATUS_OK);
    store_stats(f->store);
    flusher.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(right, RECORDS);
    assert_int_equal(store_stats(f->store).syncs, flusher.syncs + 1);
    fixture_power_cut(f);
    assert_int_equal(read_all(f, &right), STATUS_OK);
    assert_int_equal(right, RECORDS);
}

/* Checkpoints by log bytes happen, and the log stays within what configs/node.yaml says of checkpoint_log. */
static void test_log_is_bounded(void **state)
{
    struct fixture *f = *state;
    uint8_t key[38];
    shut(f);
    f->options.checkpoint_log_bytes = 16u << 20;
    assert_int_equal(fixture_open(f), STATUS_OK);
    uint8_t *value = arena_zalloc(&f->arena, 65536);
    uint64_t most = 0;
    for (uint32_t i = 0; i < 3200; i++) { /* 200 MB of log */
        assert_int_equal(store_put(f->store, STORE_OBJECTS, record_key(key, i % 64), bytes_of(value, 65536)),
                         STATUS_OK);
        if (i % 16 != 15) continue;
        assert_int_equal(store_commit(f->store), STATUS_OK);
        assert_int_equal(store_sync(f->store), STATUS_OK);
        uint64_t log = store_stats(f->store).log_bytes;
        if (log > most) most = log;
    }
    if (most > 2 * f->options.checkpoint_log_bytes + (96u << 20))
        fail_msg("%llu bytes of log", (unsigned long long)most);
}

int main(void)
{
    const char *given = getenv("DYNODE_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : prng_entropy();
    printf("DYNODE_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_a_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_does_not_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flusher_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests_name("store_wt", tests, NULL, NULL);
}
