/* The WiredTiger engine: one home directory per store, so that a store that breaks takes no other with it.
 *
 * Three tables, `objects`, `meta` and `hints`. A commit is one transaction, written to WiredTiger's log but
 * not synced; store_sync then makes all of it durable with one log_flush, on a session of its own, so that a
 * flusher thread can wait for the disk while the shard is in its next turn. Checkpoints come from
 * WiredTiger's own server, by log bytes and by time; they bound the log.
 *
 * Any error that is not "not found" or "try again" means that the store is broken: WiredTiger answers
 * WT_PANIC to everything after a damaged page or a failed fsync, and even after a reopen the same page panics
 * again. It never ends the process and never prints: what it has to say goes to store_error. Closing a store
 * after a panic gives back its files and lock, but leaks some tens of megabytes of address space.
 *
 * What the settings rest on (two shared cores, ext4, 260-byte values, random keys; the numbers swing by a
 * third with what else the machine does):
 *
 * - The log's files are made when they are needed, and not filled. Into one that was filled with zeros
 *   beforehand a sync of 32 puts takes 0.12-0.18 ms, not 0.21-0.24; but whoever fills the next file keeps the
 *   disk from everybody's syncs: with files of 8 MB, filled, the p99 of puts of three nodes on one disk was
 *   10.2 ms, and without 8.0 (tests/bench/run three). method=dsync was no better.
 * - Dirty triggers at 20 and 50 %, not at 5 and 20, in commits of 32 each with its sync, a cache of 256 MB:
 *   155,000 puts a second, not 89,000, and 116,000 overwrites, not 63,000. The log bounds what is dirty at a
 *   checkpoint all the same.
 * - The page sizes are WiredTiger's: leaves of 8 and 16 KB were as fast and as large, 2.1-2.3 times the raw
 *   bytes on disk. Values above half a leaf become overflow items, which stay out of the cache.
 * - With a cache of 32 MB the whole process held 33-54 MB.
 *
 * The bound of the log, 2 x checkpoint_log + 96 MB, follows from WiredTiger 3.2.1 (conn_ckpt.c,
 * conn_log.c, log.c) for a shard that writes at most 64 MB of log in two seconds, and whose checkpoints take
 * at most half of the time in which checkpoint_log is written. Its terms, in the order in which the log lies
 * there:
 *
 * - Two files of 16 MB that are there whole: that in which the oldest log needed begins, and that which is
 *   being written.
 * - checkpoint_log: what is written between the end of a checkpoint, which sets the count to zero, and
 *   the beginning of the next, which the count brings about (at 16 MB at least, a file).
 * - checkpoint_log: what is written during these two checkpoints. The log is kept from where the first
 *   one began, until the second has ended and has woken the log's server, which removes what is older.
 * - 64 MB: the server looks each second, and sleeps for up to one more.
 *
 * Slower disks and faster shards need more, in these two last terms. The two shards of `tests/bench/run`
 * had 100 MB together, where this says 470. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <wiredtiger.h>

#include "base/check.h"
#include "store/store_engine.h"

enum {
    ATTEMPTS_MAX = 100,         /* of what WiredTiger asks to retry; each may have waited cache_max_wait_ms */
    ROOM_CHECK_BYTES = 4 << 20, /* ask the file system again after so much growth */
    CACHE_BYTES_MIN = 1 << 20,
    LSM_CACHE_BYTES_MIN = 32 << 20,
    CONFIG_BYTES = 1024,
};

static const char *const table_uris[STORE_TABLES] = {[STORE_OBJECTS] = "table:objects",
                                                     [STORE_META] = "table:meta",
                                                     [STORE_HINTS] = "table:hints",
                                                     [STORE_REAP] = "table:reap"};

struct store_wt {
    struct store store;
    WT_EVENT_HANDLER handler;
    WT_CONNECTION *connection;
    WT_SESSION *session; /* the shard's thread */
    WT_CURSOR *cursors[STORE_TABLES];
    WT_SESSION *sync_session; /* under sync_lock */
    pthread_mutex_t sync_lock;
    pthread_mutex_t error_lock;
    char heard[160]; /* what WiredTiger said last */
    bool unwritable; /* it said that there is no space, or none that may be written */
    char *path;
    uint64_t reserve_bytes;
    uint64_t room_bytes; /* may be staged before the file system is asked again */
};

static struct store_wt *wt_of(struct store *store)
{
    return (struct store_wt *)store;
}

/* --- what WiredTiger has to say; its own threads call this too --- */

static int on_error(WT_EVENT_HANDLER *handler, WT_SESSION *session, int error, const char *message)
{
    (void)session;
    struct store_wt *wt = (struct store_wt *)((char *)handler - offsetof(struct store_wt, handler));
    pthread_mutex_lock(&wt->error_lock);
    /* The cause comes first, "the process must exit" after it. */
    if (error != WT_PANIC || wt->heard[0] == '\0') snprintf(wt->heard, sizeof wt->heard, "%s", message);
    if (error == ENOSPC || error == EDQUOT || error == EROFS) wt->unwritable = true;
    pthread_mutex_unlock(&wt->error_lock);
    return 0;
}

static int on_message(WT_EVENT_HANDLER *handler, WT_SESSION *session, const char *message)
{
    (void)handler, (void)session, (void)message;
    return 0;
}

static int on_progress(WT_EVENT_HANDLER *handler, WT_SESSION *session, const char *operation,
                       uint64_t progress)
{
    (void)handler, (void)session, (void)operation, (void)progress;
    return 0;
}

static enum status broken_by(struct store_wt *wt, const char *what, int error, bool writing)
{
    pthread_mutex_lock(&wt->error_lock);
    if (!wt->store.broken) {
        snprintf(wt->store.error, sizeof wt->store.error, "%s: %s: %s", what, wiredtiger_strerror(error),
                 wt->heard);
        /* WiredTiger's own errors are negative. */
        wt->store.stuck = wt->unwritable || (writing && error > 0);
        wt->store.broken = true;
    }
    pthread_mutex_unlock(&wt->error_lock);
    return STATUS_STORE_BROKEN;
}

static enum status broken(struct store_wt *wt, const char *what, int error)
{
    return broken_by(wt, what, error, false);
}

/* Does WiredTiger ask for another try? Then wait a little longer each time: while the disk can't keep up the
 * cache stays full, and a store is not broken for being slow. All tries together wait for 38 s. */
static bool try_again(int error, int attempt)
{
    if (error != WT_ROLLBACK && error != WT_CACHE_FULL) return false;
    int ms = attempt * 10 < 500 ? attempt * 10 : 500;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
    return true;
}

static WT_ITEM item_of(struct bytes bytes)
{
    return (WT_ITEM){.data = bytes.size > 0 ? bytes.data : (const uint8_t *)"", .size = bytes.size};
}

/* --- the engine's operations --- */

static enum status wt_get(struct store *store, enum store_table table, struct bytes key, struct arena *arena,
                          struct bytes *out)
{
    struct store_wt *wt = wt_of(store);
    WT_CURSOR *cursor = wt->cursors[table];
    WT_ITEM item = item_of(key);
    int error;
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        cursor->set_key(cursor, &item);
        error = cursor->search(cursor);
        if (!try_again(error, attempt)) break;
    }
    bool found = error == 0;
    uint8_t *copy = NULL;
    WT_ITEM value = {0};
    if (found) error = cursor->get_value(cursor, &value);
    if (found && error == 0) {
        copy = arena_try(arena, value.size);
        if (copy != NULL && value.size > 0) memcpy(copy, value.data, value.size);
    }
    /* Also after a miss: the key stays set, and an LSM cursor would begin its next walk there. */
    if (error == 0 || error == WT_NOTFOUND) error = cursor->reset(cursor);
    if (error != 0) return broken(wt, "get", error);
    if (!found) return STATUS_NOT_FOUND;
    if (copy == NULL) return STATUS_NO_MEMORY;
    *out = bytes_of(copy, value.size);
    return STATUS_OK;
}

/* Put @cursor on the first key not before @key, or after it if @after. */
static int cursor_seek(WT_CURSOR *cursor, struct bytes key, bool after)
{
    int order, error = cursor->reset(cursor);
    if (error != 0) return error;
    if (key.size == 0) return cursor->next(cursor);
    WT_ITEM item = item_of(key);
    cursor->set_key(cursor, &item);
    error = cursor->search_near(cursor, &order);
    if (error != 0) return error;
    return order < 0 || (order == 0 && after) ? cursor->next(cursor) : 0;
}

struct walk {
    struct bytes from, to;
    bool begun; /* last holds the key visited last: from there a walk that must be tried again goes on */
    size_t last_size;
    uint8_t last[STORE_KEY_BYTES_MAX];
};

/* 0 when the walk is over. */
static int wt_walk(WT_CURSOR *cursor, struct walk *walk, store_visit *visit, void *context)
{
    struct bytes from = walk->begun ? bytes_of(walk->last, walk->last_size) : walk->from;
    int error = cursor_seek(cursor, from, walk->begun);
    for (; error == 0; error = cursor->next(cursor)) {
        WT_ITEM key, value;
        error = cursor->get_key(cursor, &key);
        if (error == 0) error = cursor->get_value(cursor, &value);
        if (error != 0) return error;
        struct bytes found = bytes_of(key.data, key.size);
        if (walk->to.size > 0 && bytes_compare(found, walk->to) >= 0) return 0;
        if (found.size > sizeof walk->last) return WT_ERROR;
        memcpy(walk->last, found.data, found.size);
        walk->last_size = found.size;
        walk->begun = true;
        if (!visit(context, found, bytes_of(value.data, value.size))) return 0;
    }
    return error == WT_NOTFOUND ? 0 : error;
}

static enum status wt_scan(struct store *store, enum store_table table, struct bytes from, struct bytes to,
                           store_visit *visit, void *context)
{
    struct store_wt *wt = wt_of(store);
    WT_CURSOR *cursor = wt->cursors[table];
    struct walk walk;
    walk.from = from, walk.to = to, walk.begun = false;
    int error;
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        error = wt_walk(cursor, &walk, visit, context);
        int reset = cursor->reset(cursor);
        if (error == 0) error = reset;
        if (!try_again(error, attempt)) break;
    }
    return error == 0 ? STATUS_OK : broken(wt, "scan", error);
}

static int apply_one(WT_CURSOR *cursor, const struct store_write *write)
{
    WT_ITEM key = item_of(write->key);
    cursor->set_key(cursor, &key);
    if (write->removed) {
        int error = cursor->remove(cursor);
        return error == WT_NOTFOUND ? 0 : error;
    }
    WT_ITEM value = item_of(write->value);
    cursor->set_value(cursor, &value);
    return cursor->insert(cursor);
}

static enum status wt_apply(struct store *store, struct store_write *const *writes, size_t count)
{
    struct store_wt *wt = wt_of(store);
    WT_SESSION *session = wt->session;
    int error;
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        error = session->begin_transaction(session, NULL);
        if (error != 0) break;
        for (size_t i = 0; i < count && error == 0; i++)
            error = apply_one(wt->cursors[writes[i]->table], writes[i]);
        if (error == 0) {
            error = session->commit_transaction(session, NULL); /* which rolls back if it fails */
        } else {
            int rolled = session->rollback_transaction(session, NULL);
            if (rolled != 0) error = rolled;
        }
        if (!try_again(error, attempt)) break;
    }
    return error == 0 ? STATUS_OK : broken_by(wt, "commit", error, true);
}

static enum status wt_sync(struct store *store)
{
    struct store_wt *wt = wt_of(store);
    pthread_mutex_lock(&wt->sync_lock);
    int error = wt->sync_session->log_flush(wt->sync_session, "sync=on");
    pthread_mutex_unlock(&wt->sync_lock);
    return error == 0 ? STATUS_OK : broken_by(wt, "sync", error, true);
}

static int64_t connection_stat(struct store_wt *wt, int stat)
{
    WT_CURSOR *cursor;
    const char *text, *printed;
    int64_t value = 0;
    if (wt->session->open_cursor(wt->session, "statistics:", NULL, "statistics=(fast)", &cursor) != 0)
        return 0;
    cursor->set_key(cursor, stat);
    if (cursor->search(cursor) != 0 || cursor->get_value(cursor, &text, &printed, &value) != 0) value = 0;
    cursor->close(cursor);
    return value;
}

static void wt_stats(struct store *store, struct store_stats *stats)
{
    struct store_wt *wt = wt_of(store);
    stats->cache_bytes = (uint64_t)connection_stat(wt, WT_STAT_CONN_CACHE_BYTES_INUSE);
    stats->cache_bytes_max = (uint64_t)connection_stat(wt, WT_STAT_CONN_CACHE_BYTES_MAX);
    DIR *directory = opendir(wt->path);
    if (directory == NULL) return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        struct stat file;
        if (fstatat(dirfd(directory), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(file.st_mode))
            continue;
        uint64_t bytes = (uint64_t)file.st_blocks * 512;
        stats->bytes_on_disk += bytes;
        bool log = strncmp(entry->d_name, "WiredTigerLog.", 14) == 0 ||
                   strncmp(entry->d_name, "WiredTigerPreplog.", 18) == 0 ||
                   strncmp(entry->d_name, "WiredTigerTmplog.", 17) == 0;
        if (log) stats->log_bytes += bytes;
    }
    closedir(directory);
}

/* No clock: the file system is asked after so many bytes. Below the reserve it is asked each time, so that
 * growth is allowed again as soon as there is room. */
static enum status wt_room(struct store *store, size_t bytes)
{
    struct store_wt *wt = wt_of(store);
    if (bytes <= wt->room_bytes) {
        wt->room_bytes -= bytes;
        return STATUS_OK;
    }
    wt->room_bytes = 0;
    struct statvfs fs;
    bool known = statvfs(wt->path, &fs) == 0;
    uint64_t left = known ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    if (left < wt->reserve_bytes || left - wt->reserve_bytes < bytes) {
        store->full[0] = '\0';
        if (known && wt->reserve_bytes > 0)
            snprintf(store->full, sizeof store->full,
                     "has %" PRIu64 "MB left, and store.reserve keeps %" PRIu64 "MB free", left >> 20,
                     wt->reserve_bytes >> 20);
        return STATUS_NO_SPACE;
    }
    uint64_t growth = left - wt->reserve_bytes - bytes;
    wt->room_bytes = growth < ROOM_CHECK_BYTES ? growth : ROOM_CHECK_BYTES;
    return STATUS_OK;
}

static void wt_close(struct store *store)
{
    struct store_wt *wt = wt_of(store);
    if (wt->connection != NULL) wt->connection->close(wt->connection, NULL);
    pthread_mutex_destroy(&wt->sync_lock);
    pthread_mutex_destroy(&wt->error_lock);
    free(wt->path);
    store_fini(store);
    free(wt);
}

static const struct store_engine wt_engine = {
    .get = wt_get,
    .scan = wt_scan,
    .apply = wt_apply,
    .sync = wt_sync,
    .stats = wt_stats,
    .room = wt_room,
    .close = wt_close,
};

/* --- open --- */

static enum status invalid(char *why, size_t why_bytes, const char *path, const char *what, int error)
{
    snprintf(why, why_bytes, "%s: %s: %s", path, what, strerror(error));
    return STATUS_INVALID;
}

/* Make the directory durably; WiredTiger syncs what it makes inside. */
static enum status directory_make(const char *path, char *why, size_t why_bytes)
{
    struct stat stat_of;
    if (mkdir(path, 0700) == 0) {
        int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int up = parent < 0 ? -1 : openat(parent, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (up >= 0) fsync(up);
        if (up >= 0) close(up);
        if (parent >= 0) close(parent);
    } else if (errno != EEXIST) {
        return invalid(why, why_bytes, path, "the directory can't be made", errno);
    }
    if (stat(path, &stat_of) != 0) return invalid(why, why_bytes, path, "it can't be read", errno);
    if (!S_ISDIR(stat_of.st_mode)) return invalid(why, why_bytes, path, "it must be a directory", ENOTDIR);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return invalid(why, why_bytes, path, "the directory must be writable", errno);
    return STATUS_OK;
}

/* WiredTiger's root is a text file without a checksum, WiredTiger.turtle, and 3.2.1 believes it: if damage
 * hides the formats of its metadata table it takes the defaults and writes past a variable on its stack.
 * Everything else in that file ends in an error or in a checksum that differs. So look for the two formats as
 * its parser would: settings separated by commas outside of parentheses. */
static bool turtle_is_sound(const char *config)
{
    int depth = 0, formats = 0;
    bool quoted = false;
    for (const char *at = config, *setting = config;; at++) {
        bool end = *at == '\0' || *at == '\n';
        if ((end || *at == ',') && depth == 0 && !quoted) {
            size_t size = (size_t)(at - setting);
            formats += size == 12 && memcmp(setting, "key_format=S", 12) == 0;
            formats += size == 14 && memcmp(setting, "value_format=S", 14) == 0;
            setting = at + 1;
        }
        if (end) break;
        if (*at == '"')
            quoted = !quoted;
        else if (quoted ? !isxdigit((unsigned char)*at)
                        : *at < ' ' || *at > '~' || strchr("\\[]{}", *at) != NULL)
            return false;
        if (!quoted) depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
        if (depth < 0) return false;
    }
    return depth == 0 && !quoted && formats == 2;
}

/* A store without the file is new, or one that WiredTiger will refuse. */
static bool turtle_check(const struct store_wt *wt)
{
    static const char root[] = "\nfile:WiredTiger.wt\n";
    char path[PATH_MAX], text[16384];
    snprintf(path, sizeof path, "%s/WiredTiger.turtle", wt->path);
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return true;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    const char *config = strstr(text, root);
    return strlen(text) == size && config != NULL && turtle_is_sound(config + strlen(root));
}

static int open_engine(struct store_wt *wt, const struct store_wt_options *options)
{
    char config[CONFIG_BYTES];
    int length =
        snprintf(config, sizeof config,
                 "create,config_base=false,use_environment=false,cache_size=%" PRIu64 ",session_max=128,"
                 "log=(enabled,file_max=16MB,prealloc=false),transaction_sync=(enabled=false,method=fsync),"
                 "checkpoint=(wait=%" PRIu32 ",log_size=%" PRIu64 "),"
                 "eviction=(threads_min=1,threads_max=4),eviction_dirty_target=20,eviction_dirty_trigger=50,"
                 "cache_max_wait_ms=2000,statistics=(fast)",
                 options->cache_bytes, options->checkpoint_seconds, options->checkpoint_log_bytes);
    CHECK(length > 0 && (size_t)length < sizeof config);
    if (!turtle_check(wt)) {
        snprintf(wt->heard, sizeof wt->heard, "WiredTiger.turtle is damaged");
        return WT_ERROR;
    }
    int error = wiredtiger_open(wt->path, &wt->handler, config, &wt->connection);
    if (error != 0) return error;
    WT_CONNECTION *connection = wt->connection;
    error = connection->open_session(connection, NULL, "isolation=snapshot", &wt->session);
    if (error == 0) error = connection->open_session(connection, NULL, NULL, &wt->sync_session);
    for (int table = 0; table < STORE_TABLES && error == 0; table++) {
        /* One that an earlier version did not have is made now. */
        bool lsm = options->lsm && table == STORE_OBJECTS;
        snprintf(config, sizeof config,
                 "key_format=u,value_format=u,checksum=on,access_pattern_hint=random%s",
                 lsm ? ",type=lsm" : "");
        error = wt->session->create(wt->session, table_uris[table], config);
        if (error == 0)
            error = wt->session->open_cursor(wt->session, table_uris[table], NULL, "overwrite=true",
                                             &wt->cursors[table]);
    }
    return error;
}

enum status store_wt_open(const struct store_wt_options *options, char *why, size_t why_bytes,
                          struct store **out)
{
    uint64_t cache_bytes_min = options->lsm ? LSM_CACHE_BYTES_MIN : CACHE_BYTES_MIN;
    if (options->cache_bytes < cache_bytes_min) {
        snprintf(why, why_bytes, "%s: the cache must be at least %" PRIu64 " bytes", options->path,
                 cache_bytes_min);
        return STATUS_INVALID;
    }
    /* WiredTiger makes files whenever it likes, and a umask is the only way to tell it their mode. */
    umask(077);
    enum status status = directory_make(options->path, why, why_bytes);
    if (status != STATUS_OK) return status;

    struct store_wt *wt = calloc(1, sizeof *wt);
    CHECK(wt != NULL);
    store_init(&wt->store, &wt_engine);
    pthread_mutex_init(&wt->sync_lock, NULL);
    pthread_mutex_init(&wt->error_lock, NULL);
    wt->handler = (WT_EVENT_HANDLER){
        .handle_error = on_error, .handle_message = on_message, .handle_progress = on_progress};
    wt->reserve_bytes = options->reserve_bytes;
    wt->path = strdup(options->path);
    CHECK(wt->path != NULL);

    int error = open_engine(wt, options);
    if (error == 0) {
        *out = &wt->store;
        return STATUS_OK;
    }
    snprintf(why, why_bytes, "%s: %s: %s", wt->path, wiredtiger_strerror(error), wt->heard);
    wt_close(&wt->store);
    switch (error) {
    case EBUSY:
        return STATUS_IN_USE;
    case EACCES:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case EPERM:
    case EROFS:
        return STATUS_INVALID;
    default:
        return STATUS_STORE_BROKEN;
    }
}

/* WiredTiger names a B-tree's file after its table, and an LSM tree's after the table and a number. */
enum status store_wt_made_with(const char *path, bool *lsm)
{
    enum status status = STATUS_NOT_FOUND;
    DIR *directory = opendir(path);
    if (directory == NULL) return status;
    for (struct dirent *entry; status != STATUS_OK && (entry = readdir(directory)) != NULL;) {
        size_t size = strlen(entry->d_name);
        bool chunk = size > 12 && strncmp(entry->d_name, "objects-", 8) == 0 &&
                     strcmp(entry->d_name + size - 4, ".lsm") == 0;
        if (!chunk && strcmp(entry->d_name, "objects.wt") != 0) continue;
        *lsm = chunk;
        status = STATUS_OK;
    }
    closedir(directory);
    return status;
}

enum status store_wt_set_aside(const char *path, char *moved, size_t moved_bytes)
{
    enum { TRIES = 100 };
    char stamp[32], to[PATH_MAX];
    time_t now = time(NULL);
    struct tm utc;
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    for (int i = 1; i <= TRIES; i++) {
        char again[16] = "";
        if (i > 1) snprintf(again, sizeof again, "-%d", i);
        int length = snprintf(to, sizeof to, "%.*s.broken-%s%s", (int)size, path, stamp, again);
        if (length < 0 || (size_t)length >= sizeof to || (size_t)length >= moved_bytes) return STATUS_INVALID;
        if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
            memcpy(moved, to, (size_t)length + 1);
            return STATUS_OK;
        }
        if (errno != EEXIST) return STATUS_INVALID;
    }
    return STATUS_INVALID;
}
