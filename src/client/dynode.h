/* libdynode: the C client of dynode. This header is the manual.
 *
 * A client speaks to a cluster through any of its nodes. It learns the ring from the first one that answers,
 * keeps one connection per shard of each node it needs, sends each key straight to the core that owns it, and
 * goes to another node when that one cannot be reached.
 *
 *      struct dynode_client *client;
 *      char why[256];
 *      if (dynode_open("tcp://10.0.0.1:7400", NULL, &client, why, sizeof(why)) != DYNODE_OK)
 *          errx(2, "%s", why);
 *      struct dynode_reply *reply = dynode_get(client, "users", dynode_string("ada"));
 *      const struct dynode_result *result = reply->results;
 *      if (result->status != DYNODE_OK)
 *          errx(1, "%s %s", dynode_status_text(result->status), result->message);
 *      for (size_t i = 0; i < result->sibling_count; i++)
 *          fwrite(result->siblings[i].value.data, 1, result->siblings[i].value.size, stdout);
 *      dynode_reply_free(reply);
 *      dynode_close(client);
 *
 * SIBLINGS AND CONTEXTS. In a table of the rule `siblings` a key may have several values, written
 * concurrently. A read returns all of them and a context. Merge them as your data wants it, and hand the
 * context to the next write of that key: it supersedes exactly what the read returned. A write without a
 * context stands beside what is there.
 *
 * RETRIES. Reads go to another node until one answers or the deadline passes, also from a node that has not
 * said a word for half of the deadline (but for 500 ms at least). A write is sent again only where it was
 * certainly not applied: it never left this machine whole, or the node said so. Otherwise the caller gets
 * UNAVAILABLE or TIMEOUT with `applied` MAYBE and decides; every write carries a token, so that repeating the
 * very same dynode_operation with the same token makes no second sibling (see dynode_operation.sequence).
 *
 * WHAT IS LEARNT. The ring that a node describes is judged as a whole before it is used, and asked for anew
 * when something does not fit it, when a member cannot be reached, and every half minute. While nothing
 * answers, it is dropped, and the addresses given to dynode_open are asked again. A connection that leaves a
 * request without an answer beyond its time is replaced. All of this waits longer after each failure, and
 * never two clients the same. A ring whose keys are hashed in a way that this library does not know is
 * refused: what would have to be routed by it ends in WRONG_VERSION, and nothing of it was done. It is asked
 * for again each second, for a damaged frame may have said so.
 *
 * TIME. Every operation is answered by its deadline and a grace: the client gives up by itself when no node
 * does. Host names are resolved by getaddrinfo, which may block; numeric addresses never do.
 *
 * THREADS. A client belongs to one thread at a time. Use one client for each thread.
 *
 * MEMORY. What is handed in is copied before the call returns. A reply owns all that it points to. When
 * memory runs out the process ends. SIGPIPE is never raised. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DYNODE_API __attribute__((visibility("default")))
#else
#define DYNODE_API
#endif

struct dynode_client;

struct dynode_bytes {
    const void *data; /* NULL only if size is 0 */
    size_t size;
};

static inline struct dynode_bytes dynode_string(const char *string)
{
    struct dynode_bytes bytes = {string, strlen(string)};
    return bytes;
}

/* The numbers of client.proto, where each is explained. */
enum dynode_status {
    DYNODE_OK = 0,
    DYNODE_NOT_FOUND = 1, /* get: no live value */
    DYNODE_CONFLICT = 2,  /* the precondition does not hold; the result has the siblings and their context */
    DYNODE_UNAVAILABLE = 3, /* no node can be reached, or too few replicas; see `applied` */
    DYNODE_TIMEOUT = 4,     /* the deadline passed; see `applied` */
    DYNODE_OVERLOADED = 5,  /* too much is in flight, here or at the node; nothing was done */
    DYNODE_INVALID = 6,     /* `message` says what is wrong and what would be right; nothing was done */
    DYNODE_TOO_LARGE = 7,   /* a key above 1,024 bytes or a value above 1 MiB; nothing was done */
    DYNODE_NO_SUCH_TABLE = 8,
    DYNODE_TABLE_EXISTS = 9,
    DYNODE_WRONG_VERSION = 10, /* the node speaks another protocol version, or hashes keys in another way */
    DYNODE_TOO_MANY_SIBLINGS =
        11, /* merge those in the result and write with their context; nothing was written */
    DYNODE_STOPPING = 12,
    DYNODE_INTERNAL = 64, /* a defect of the server, or of what it sent */
};

/* "NOT_FOUND", and "not found". Static memory. */
DYNODE_API const char *dynode_status_name(enum dynode_status status);
DYNODE_API const char *dynode_status_text(enum dynode_status status);

/* What is known of a write that ended in UNAVAILABLE, TIMEOUT, OVERLOADED or STOPPING. */
enum dynode_applied {
    DYNODE_APPLIED_NOTHING_TO_SAY = 0,
    DYNODE_APPLIED_NO = 1,    /* certainly not written */
    DYNODE_APPLIED_MAYBE = 2, /* it may be written, now or later */
};

enum dynode_level {
    DYNODE_LEVEL_TABLE = 0, /* the table's own R or W, or `replicas` if that is not 0 */
    DYNODE_LEVEL_ONE = 1,
    DYNODE_LEVEL_QUORUM = 2, /* N/2 + 1 */
    DYNODE_LEVEL_ALL = 3,
};

/* Who may take part beside the key's homes, where some are away: client.proto's Quorum. */
enum dynode_quorum {
    DYNODE_QUORUM_DEFAULT = 0, /* sloppy, but for a write with a precondition */
    DYNODE_QUORUM_SLOPPY = 1,  /* other nodes stand in for homes that are away, and count */
    DYNODE_QUORUM_STRICT = 2,  /* only homes count */
};

enum dynode_precondition {
    DYNODE_ALWAYS = 0,
    DYNODE_IF_ABSENT = 1,  /* only if no live value is there */
    DYNODE_IF_CONTEXT = 2, /* only if the stored version is exactly the one that `context` names */
};

enum dynode_rule {
    DYNODE_RULE_SIBLINGS = 0, /* concurrent writes are all kept */
    DYNODE_RULE_LWW = 1,      /* the latest write wins, and a concurrent one is lost */
};

/* Opening. */

struct dynode_options {
    const char *name;             /* for the nodes' logs, at most 63 bytes; NULL: "libdynode" */
    uint32_t connect_timeout_ms;  /* for one address, HELLO included; 0: 2,000 */
    uint32_t deadline_ms;         /* of operations that name none; 0: 5,000. At most 60,000, as theirs */
    uint32_t grace_ms;            /* how long after its deadline an answer is still waited for; 0: 500 */
    uint32_t in_flight_max;       /* operations submitted and not answered; more are OVERLOADED; 0: 65,536 */
    uint32_t in_flight_bytes_max; /* of the operations in flight; more are OVERLOADED; 0: 256 MiB */
    bool any_node;                /* do not learn the ring: for a process that makes one request and goes */
};

/* Make a client for the cluster behind @addresses: one or more, separated by commas, of tcp://HOST:PORT,
 * tcp://[IPv6]:PORT or unix:///PATH. Nothing is connected yet: the first operation does that.
 * @options may be NULL. @why, of @why_size bytes, gets a sentence when the status is not OK.
 * DYNODE_INVALID  An address cannot be read. *client is untouched. */
DYNODE_API enum dynode_status dynode_open(const char *addresses, const struct dynode_options *options,
                                          struct dynode_client **client, char *why, size_t why_size);

/* Close all connections. Operations in flight are forgotten without a callback; writes among them may be
 * applied. */
DYNODE_API void dynode_close(struct dynode_client *client);

/* Operations. */

enum dynode_kind {
    DYNODE_GET,
    DYNODE_PUT,
    DYNODE_DELETE,
    DYNODE_SCAN,
    DYNODE_CREATE_TABLE,
    DYNODE_ALTER_TABLE,
    DYNODE_DROP_TABLE,
    DYNODE_LIST_TABLES,
    DYNODE_CLUSTER_INFO,
    DYNODE_NODE_STATUS,
    DYNODE_ACCEPT_LOSS, /* give up what a dead node may hold: AcceptLoss in client.proto */
};

/* One operation. Zero is the default of every field; a kind looks only at the fields of its own. */
struct dynode_operation {
    enum dynode_kind kind;
    const char *table; /* all but LIST_TABLES, CLUSTER_INFO, NODE_STATUS, ACCEPT_LOSS */

    /* get, put, delete */
    struct dynode_bytes key;     /* 1 to 1,024 bytes of any kind */
    struct dynode_bytes value;   /* put: 0 to 1 MiB; empty is a value */
    struct dynode_bytes context; /* put, delete: from a read of this key, or empty */
    uint32_t replicas;           /* R or W as a number, 1 to N; 0: as `level` says */
    enum dynode_level level;
    enum dynode_quorum quorum;
    uint32_t n;        /* only the first n homes; 0: all */
    bool context_only; /* get: no siblings come, only the status and the context */
    enum dynode_precondition precondition;
    uint64_t sequence; /* put, delete: of the write token; 0: a new one. To repeat a write whose outcome was
                          MAYBE, give the sequence that its result names. */

    /* put, create table, alter table */
    uint64_t ttl_ms; /* put: expires so long after the write. Table: of records whose put says nothing. 0: see
                        for_ever */
    bool for_ever;   /* put, alter table: never expires. With ttl_ms 0 and without it: put takes the table's,
                        alter leaves it as it is, create means never. */

    /* create table: 0 for the server's choice; alter table: 0 leaves it as it is */
    enum dynode_rule rule; /* create table */
    uint32_t table_n;      /* create table */
    uint32_t table_r;
    uint32_t table_w;

    /* scan */
    struct dynode_bytes cursor; /* of the page before; empty: from the beginning */
    uint32_t limit;             /* keys of a page, 1 to 10,000; 0: 1,000 */
    bool count_only;
    bool primary_only; /* only keys whose first home is the node asked: over all nodes each comes once */

    /* scan, node status, cluster info: the node to ask, which must be a member; 0: any. accept loss: whose */
    uint64_t node;
};

/* Answers. Everything here lives as long as the reply. Strings are never NULL. */

struct dynode_sibling {
    struct dynode_bytes value;
    uint64_t written_ms; /* wall time at the coordinator, ms since 1970 */
    uint64_t expires_ms; /* 0: never */
};

struct dynode_table {
    const char *name;
    enum dynode_rule rule;
    uint32_t n, r, w;
    uint64_t ttl_ms; /* 0: for ever */
    uint64_t tag;    /* the seed of its keys' hash */
};

struct dynode_member {
    uint64_t id;
    const char *name;
    const char *client_address;
    const char *peer_address;
    const char *zone;
    uint32_t weight;
    uint32_t shards; /* 0: not known yet */
    bool reachable;  /* in the opinion of the node that answered */
    bool given_up;   /* nobody waits for what it holds: DYNODE_ACCEPT_LOSS */
};

struct dynode_cluster {
    uint64_t id;
    uint64_t ring_version;
    uint32_t vnodes;  /* a power of two */
    const char *hash; /* of keys: "xxh3-64"; another is WRONG_VERSION */
    const struct dynode_member *members;
    uint32_t member_count;
    const struct dynode_table *tables;
    uint32_t table_count;
    uint32_t preference_size;         /* nodes in each preference list: min(members, 15) */
    const uint32_t *preference_lists; /* for each vnode in turn, that many indexes into members */
};

struct dynode_peer_report {
    uint64_t node;
    bool up;
    uint64_t queued_bytes;
    uint64_t heard_ms_ago;
};

/* What a shard keeps for another node. */
struct dynode_hint_report {
    uint64_t node;
    uint64_t count, bytes;
    uint64_t oldest_ms; /* since 1970: none is older */
};

/* The fields of client.proto's ShardReport, where each is explained. */
struct dynode_shard_report {
    uint32_t shard;
    uint32_t vnodes;
    uint64_t gets, puts, replica_reads, replica_writes, repairs, errors, overloaded;
    uint32_t connections, requests_in_flight, coordinating;
    uint64_t inbox_bytes, outbox_bytes;
    uint64_t turns, syncs;
    uint64_t store_bytes, store_log_bytes, cache_bytes, cache_bytes_max;
    uint64_t dropped, corrupt;
    bool filled;
    uint32_t vnodes_built;
    uint64_t exchanges, differing, objects_in, objects_out;
    uint64_t audits, audited, damaged, mended;
    uint64_t tombstones, reaped; /* keys that wait to go for good, and that have gone */
    uint64_t equal_ms_ago;       /* when copies were last proven equal, the oldest of them; but for ... */
    uint32_t unproven;           /* ... those that were not since the start */
    const struct dynode_peer_report *peers;
    uint32_t peer_count;
    const struct dynode_hint_report *hints;
    uint32_t hint_count;
    uint64_t hint_bytes_max, hints_refused, dirty;
    uint32_t lingering;
    /* Overload: what client.proto says of each. */
    uint32_t owed;
    uint64_t results_bytes, mail_wait_us, expired, repairs_shed;
    uint64_t speculated, speculations_withheld, speculation_wait_us;
    uint32_t unfilled;
    const uint64_t *unfilled_for; /* node ids */
    uint32_t unfilled_for_count;
};

struct dynode_node_report {
    uint64_t node;
    const char *name;
    const char *software;
    uint64_t uptime_ms;
    uint64_t resident_bytes;
    const struct dynode_shard_report *shards;
    uint32_t shard_count;
};

struct dynode_scan_page {
    const struct dynode_bytes *keys;
    size_t key_count;
    uint64_t count;             /* live keys in this page, also with count_only */
    struct dynode_bytes cursor; /* for the next page; empty: this was the last */
};

struct dynode_result {
    enum dynode_status status;
    const char *message; /* for people; empty when there is nothing to add */
    enum dynode_applied applied;
    uint32_t got, needed;                  /* replicas, for UNAVAILABLE and TIMEOUT */
    const struct dynode_sibling *siblings; /* the live values */
    size_t sibling_count;
    struct dynode_bytes context; /* for the next write of this key */
    const uint64_t *replicas;    /* the nodes that answered (for a write: that have it on disk) */
    size_t replica_count;
    const uint64_t *stand_ins; /* those of them that are no homes, and stand in for one that is away */
    size_t stand_in_count;
    uint64_t sequence; /* of the write token, for writes */

    /* The answers of other operations, NULL where they do not apply. */
    const struct dynode_scan_page *scan;
    const struct dynode_table *tables; /* list tables; create and alter may give the table as it is now */
    uint32_t table_count;
    const struct dynode_cluster *cluster;
    const struct dynode_node_report *node;
};

struct dynode_reply {
    enum dynode_status status;     /* of the first result that is not OK, else OK */
    struct dynode_result *results; /* one for each operation, in their order */
    size_t count;
};

/* NULL is fine. */
DYNODE_API void dynode_reply_free(struct dynode_reply *reply);

/* Calls that wait. Each returns a reply, never NULL, to be given back with dynode_reply_free. */

DYNODE_API struct dynode_reply *dynode_get(struct dynode_client *client, const char *table,
                                           struct dynode_bytes key);
/* @context: from the read that this write follows; of size 0 if there was none. */
DYNODE_API struct dynode_reply *dynode_put(struct dynode_client *client, const char *table,
                                           struct dynode_bytes key, struct dynode_bytes value,
                                           struct dynode_bytes context);
DYNODE_API struct dynode_reply *dynode_delete(struct dynode_client *client, const char *table,
                                              struct dynode_bytes key, struct dynode_bytes context);
/* Any one operation, with all its options. @deadline_ms 0: the client's. */
DYNODE_API struct dynode_reply *dynode_call(struct dynode_client *client,
                                            const struct dynode_operation *operation, uint32_t deadline_ms);
/* Many operations at once: they are independent, in no order, and each has a result of its own. They are
 * grouped by the core that owns them, at most 1,024 or 3 MiB to a request. */
DYNODE_API struct dynode_reply *dynode_batch(struct dynode_client *client,
                                             const struct dynode_operation *operations, size_t count,
                                             uint32_t deadline_ms);
/* @table gives name, rule, n, r, w, ttl_ms. */
DYNODE_API struct dynode_reply *dynode_create_table(struct dynode_client *client,
                                                    const struct dynode_table *table);
DYNODE_API struct dynode_reply *dynode_drop_table(struct dynode_client *client, const char *name);
DYNODE_API struct dynode_reply *dynode_list_tables(struct dynode_client *client);
DYNODE_API struct dynode_reply *dynode_cluster_info(struct dynode_client *client);
/* @node 0: whichever answers. */
DYNODE_API struct dynode_reply *dynode_node_status(struct dynode_client *client, uint64_t node);
/* One page of the keys that @node holds of @table. */
DYNODE_API struct dynode_reply *dynode_scan(struct dynode_client *client, const char *table, uint64_t node,
                                            struct dynode_bytes cursor, uint32_t limit);

/* Calls that do not wait. */

/* Takes the reply over and gives it back with dynode_reply_free, now or later. It may submit, but not poll,
 * wait or close. */
typedef void (*dynode_callback)(void *data, struct dynode_reply *reply);

/* Queue @count operations (1 or more). They leave at the next dynode_poll, and @callback is called from
 * within a later dynode_poll, once for them all.
 *
 * DYNODE_OVERLOADED  in_flight_max would be passed: poll first. Nothing is queued, no callback will come.
 * DYNODE_INVALID     @count is 0. Likewise. */
DYNODE_API enum dynode_status dynode_submit(struct dynode_client *client,
                                            const struct dynode_operation *operations, size_t count,
                                            uint32_t deadline_ms, dynode_callback callback, void *data);

/* Write, read, call back. Waits up to @timeout_ms (negative: until something is done) if nothing can be done
 * at once and something is in flight. Returns how many replies were handed out. */
DYNODE_API size_t dynode_poll(struct dynode_client *client, int timeout_ms);

/* Operations submitted and not answered. */
DYNODE_API size_t dynode_in_flight(const struct dynode_client *client);

/* Where a key lives. */

enum { DYNODE_PREFERENCE_MAX = 15 };

struct dynode_place {
    const struct dynode_table *table;
    uint64_t hash;
    uint32_t vnode;
    uint32_t count; /* of nodes below, in the order of preference */
    const struct dynode_member
        *nodes[DYNODE_PREFERENCE_MAX];      /* the first table->n (or all, if fewer) are the homes */
    uint32_t shards[DYNODE_PREFERENCE_MAX]; /* of each, and 1 more; 0: not known */
};

/* Find @key's place by a cluster description. *place borrows from @cluster.
 * DYNODE_NO_SUCH_TABLE  *place is untouched. */
DYNODE_API enum dynode_status dynode_place_find(const struct dynode_cluster *cluster, const char *table,
                                                struct dynode_bytes key, struct dynode_place *place);

#ifdef __cplusplus
}
#endif
