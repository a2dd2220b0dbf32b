/* Config: the texts that people type, good and bad. Each bad one is told in one line, and the line is
 * asserted whole: it is an interface of its own. */
#include "base/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"

static struct config *parse(const char *yaml)
{
    char why[CONFIG_WHY_BYTES] = "";
    struct config *c = NULL;
    if (config_parse(bytes_str(yaml), "f", &c, why, sizeof why) != STATUS_OK) fail_msg("%s", why);
    return c;
}

static void assert_same(const struct config *a, const struct config *b)
{
    assert_int_equal(a->cluster_id, b->cluster_id);
    assert_int_equal(a->vnodes, b->vnodes);
    assert_true(a->secret_file == NULL && b->secret_file == NULL);
    assert_int_equal(a->node_id, b->node_id);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->zone, b->zone);
    assert_int_equal(a->weight, b->weight);
    assert_string_equal(a->data, b->data);
    assert_int_equal(a->shards, b->shards);
    assert_int_equal(a->pin, b->pin);
    assert_int_equal(a->listen_client_count, b->listen_client_count);
    for (uint32_t i = 0; i < a->listen_client_count; i++) {
        assert_string_equal(a->listen_client[i], b->listen_client[i]);
    }
    assert_string_equal(a->listen_peer, b->listen_peer);
    assert_int_equal(a->member_count, b->member_count);
    assert_int_equal(a->table_count, b->table_count);
    assert_int_equal(a->lsm, b->lsm);
    assert_int_equal(a->cache_bytes, b->cache_bytes);
    assert_int_equal(a->reserve_bytes, b->reserve_bytes);
    assert_int_equal(a->hint_bytes_max, b->hint_bytes_max);
    assert_int_equal(a->checkpoint_log_bytes, b->checkpoint_log_bytes);
    assert_int_equal(a->checkpoint_seconds, b->checkpoint_seconds);
    assert_int_equal(a->operations_max, b->operations_max);
    assert_int_equal(a->connection_operations_max, b->connection_operations_max);
    assert_int_equal(a->connections_max, b->connections_max);
    assert_int_equal(a->log_level, b->log_level);
}

/* configs/node.yaml says what the defaults are: it must be true. */
static void the_documented_file_is_the_defaults(void **state)
{
    (void)state;
    char why[CONFIG_WHY_BYTES] = "";
    struct config *documented = NULL;
    if (config_load(DYNODE_CONFIGS "/node.yaml", &documented, why, sizeof why) != STATUS_OK)
        fail_msg("%s", why);
    struct config *least = parse("data: /var/lib/dynode");
    assert_same(least, documented);
    config_free(least);
    config_free(documented);
}

#define MEMBERS                                                                                              \
    "members:\n"                                                                                             \
    "  - {id: 00000000000000a1, name: one, peer: tcp://10.0.0.1:7500, client: tcp://10.0.0.1:7400, zone: "   \
    "east}\n"                                                                                                \
    "  - {id: 00000000000000A2, name: two, peer: 'tcp://[::1]:7500', client: unix:///run/two, weight: 7}\n"

static void every_setting_is_read(void **state)
{
    (void)state;
    struct config *c = parse("data: /d\nshards: 3\npin: true\n"
                             "cluster: {id: 0123456789abcdef, vnodes: 64, secret_file: /s}\n"
                             "node: {id: 00000000000000a2}\n"
                             "listen: {client: [unix:///tmp/x, tcp://localhost:0], peer: ipc:///tmp/p}\n"
                             "tables:\n  - {name: a, ttl: 7d}\n  - {name: b, rule: lww, n: 1, ttl: 90s}\n"
                             "  - {name: c, n: 2, r: 1, w: 2, ttl: 250}\n"
                             "store: {engine: lsm, cache: 96MB, reserve: 0, hints: 2GB, checkpoint_log: 1GB, "
                             "checkpoint_seconds: 5}\n"
                             "limits: {operations: 1, connection_operations: 2, connections: 3}\n"
                             "log: {level: debug}\n" MEMBERS);
    assert_string_equal(c->data, "/d");
    assert_int_equal(c->shards, 3);
    assert_int_equal(config_shards(c), 3);
    assert_true(c->pin);
    assert_true(c->cluster_id == 0x0123456789abcdef);
    assert_int_equal(c->vnodes, 64);
    assert_string_equal(c->secret_file, "/s");
    assert_int_equal(c->node_id, 0xa2);
    assert_string_equal(c->name, "two");
    assert_int_equal(c->weight, 7);
    assert_int_equal(c->listen_client_count, 2);
    assert_string_equal(c->listen_client[1], "tcp://localhost:0");
    assert_string_equal(c->listen_peer, "ipc:///tmp/p");
    assert_int_equal(c->member_count, 2);
    assert_string_equal(c->members[0].zone, "east");
    assert_int_equal(c->members[0].weight, 100);
    assert_string_equal(c->members[1].client, "unix:///run/two");
    assert_ptr_equal(config_self(c), &c->members[1]);
    assert_int_equal(c->table_count, 3);
    assert_false(c->tables[0].lww);
    assert_int_equal(c->tables[0].n, 2);
    assert_int_equal(c->tables[0].r, 2);
    assert_true(c->tables[0].ttl_ms == 7ULL * 86400000);
    assert_true(c->tables[1].lww);
    assert_int_equal(c->tables[1].w, 1);
    assert_int_equal(c->tables[1].ttl_ms, 90000);
    assert_int_equal(c->tables[2].r, 1);
    assert_int_equal(c->tables[2].ttl_ms, 250);
    assert_true(c->lsm);
    assert_int_equal(c->cache_bytes, 96 << 20);
    assert_int_equal(c->reserve_bytes, 0);
    assert_int_equal(c->hint_bytes_max, 2ULL << 30);
    assert_int_equal(c->checkpoint_log_bytes, 1 << 30);
    assert_int_equal(c->checkpoint_seconds, 5);
    assert_int_equal(c->operations_max, 1);
    assert_int_equal(c->connection_operations_max, 2);
    assert_int_equal(c->connections_max, 3);
    assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
    config_free(c);
}

/* A node of several listens where its own entry says, unless it is told otherwise. */
static void a_member_listens_at_its_own_addresses(void **state)
{
    (void)state;
    struct config *c =
        parse("data: /d\ncluster: {id: 00000000000000ff}\nnode: {id: 00000000000000a1}\n" MEMBERS);
    assert_int_equal(c->listen_client_count, 1);
    assert_string_equal(c->listen_client[0], "tcp://10.0.0.1:7400");
    assert_string_equal(c->listen_peer, "tcp://10.0.0.1:7500");
    config_free(c);
}

#define D  "data: /d\n"
#define DC D "cluster: {id: 00000000000000ff}\n"
#define DN DC "node: {id: 00000000000000a1}\n"

static const struct {
    const char *yaml, *why;
} bad[] = {
    {"", "f:1: data: it is missing: the directory where this node keeps its data"},
    {"# nothing\n", "f:1: data: it is missing: the directory where this node keeps its data"},
    {"data: ''", "f:1: data: it is missing: the directory where this node keeps its data"},
    {"- data", "f:1: a mapping is needed here (lines of 'key: value')"},
    {"data", "f:1: a mapping is needed here (lines of 'key: value')"},
    {"data: [/d]", "f:1: data: a single value is needed here, not a mapping or a list"},
    {D "data: /e\n", "f:2: data: it stands here twice; once is allowed"},
    {D "pin: true\ndata: /e\n", "f:3: data: it stands here twice; once is allowed"},
    {D "tables:\n  - {name: a, n: 1,\n     name: b}",
     "f:4: tables[1].name: it stands here twice; once is allowed"},
    {D "log:\n  level: info\n  level: warn\n", "f:4: log.level: it stands here twice; once is allowed"},
    {D "\nshrads: 2\n", "f:3: shrads: unknown setting; here are allowed: data, shards, pin, cluster, node, "
                        "listen, members, tables, store, limits, log"},
    {D "node:\n  zone: a\n  nmae: x\n",
     "f:4: node.nmae: unknown setting; here are allowed: id, name, zone, weight"},
    {D "members:\n  - id: 1\n  - id: 2\n    port: 3\n",
     "f:5: members[2].port: unknown setting; here are allowed: id, name, peer, client, zone, weight"},
    {D "shards: 0", "f:2: shards: '0' is not allowed: auto, or a number from 1 to 256"},
    {D "shards: 257", "f:2: shards: '257' is not allowed: auto, or a number from 1 to 256"},
    {D "shards: 18446744073709551617",
     "f:2: shards: '18446744073709551617' is not allowed: auto, or a number from 1 to 256"},
    {D "shards: 2 ", NULL},
    {D "shards: +2", "f:2: shards: '+2' is not allowed: auto, or a number from 1 to 256"},
    {D "shards:", "f:2: shards: '' is not allowed: auto, or a number from 1 to 256"},
    {D "pin: yes", "f:2: pin: 'yes' is not allowed: true or false"},
    {D "cluster: 5", "f:2: cluster: a mapping is needed here (lines of 'key: value')"},
    {D "cluster:\n\n  id: 12\n",
     "f:4: cluster.id: '12' is not allowed: 16 hexadecimal digits, not all 0, or auto"},
    {D "cluster: {id: '0000000000000000'}",
     "f:2: cluster.id: '0000000000000000' is not allowed: 16 hexadecimal digits, not all 0, or auto"},
    {D "cluster: {vnodes: 1000}",
     "f:2: cluster.vnodes: '1000' is not allowed: a power of two from 1 to 65536"},
    {D "cluster: {vnodes: 131072}",
     "f:2: cluster.vnodes: '131072' is not allowed: a power of two from 1 to 65536"},
    {D "node: {name: 'a b'}",
     "f:2: node.name: 'a b' is not allowed: 1 to 63 letters, digits, '-', '_' and '.'"},
    {D "node: {zone: \"a\\x01\"}",
     "f:2: node.zone: 'a?' is not allowed: at most 63 printable ASCII characters"},
    {D "node: {weight: 1001}", "f:2: node.weight: '1001' is not allowed: a number from 1 to 1000"},
    {D "listen: {client: tcp://127.0.0.1:1}",
     "f:2: listen.client: a list is needed here (lines that begin with '- ', or [])"},
    {D "listen: {client: []}",
     "f:2: listen.client: the list is empty; one entry at least is needed, or leave it out"},
    {D "listen:\n  client:\n    - tcp://a:1\n    - tcp://a\n",
     "f:5: listen.client[2]: 'tcp://a' is not allowed: tcp://HOST:PORT (port 0: any free one) or "
     "unix:///PATH of at most 107 bytes"},
    {D "listen: {client: [tcp://a:70000]}",
     "f:2: listen.client[1]: 'tcp://a:70000' is not allowed: tcp://HOST:PORT (port 0: any free one) or "
     "unix:///PATH of at most 107 bytes"},
    {D "listen: {client: [unix://x]}", "f:2: listen.client[1]: 'unix://x' is not allowed: tcp://HOST:PORT "
                                       "(port 0: any free one) or unix:///PATH of at most 107 bytes"},
    {D "listen: {client: [tcp://a:1, tcp://a:1]}", "f:2: listen.client[2]: it stands here twice"},
    {D "listen: {peer: unix:///p}", "f:2: listen.peer: 'unix:///p' is not allowed: tcp://HOST:PORT (port 0: "
                                    "any free one) or ipc:///PATH of at most 107 bytes"},
    {D "listen: {client: [tcp://a:1], peer: tcp://a:1}",
     "f:2: listen.peer: clients have the same address; each port needs its own"},
    {D MEMBERS, "f:1: cluster.id: it is missing: with members it must be given, the same in all of them"},
    {DC MEMBERS, "f:1: node.id: it is missing: with members it must be given, and be one of theirs"},
    {DC "node:\n  id: 00000000000000a3\n" MEMBERS,
     "f:4: node.id: 00000000000000a3 is not among the members; they must include this node itself"},
    {DN "members: [{id: 00000000000000a1}]",
     "f:4: members[1].name: it is missing: a member has id, name, peer and client"},
    {DN MEMBERS "  - {id: 00000000000000a1, name: x, peer: tcp://x:1, client: tcp://x:2}",
     "f:7: members[3].id: members[1] has the same; each member needs its own"},
    {DN MEMBERS "  - {id: 00000000000000a3, name: two, peer: tcp://x:1, client: tcp://x:2}",
     "f:7: members[3].name: members[2] has the same; each member needs its own"},
    {DN MEMBERS "  - {id: 00000000000000a3, name: x, peer: tcp://10.0.0.1:7500, client: tcp://x:2}",
     "f:7: members[3].peer: members[1] has the same; each member needs its own"},
    {DN MEMBERS "  - {id: 00000000000000a3, name: x, peer: tcp://x:0, client: tcp://x:2}",
     "f:7: members[3].peer: 'tcp://x:0' is not allowed: tcp://HOST:PORT or ipc:///PATH of at most 107 bytes"},
    {DC "node: {id: 00000000000000a1, name: uno}\n" MEMBERS,
     "f:3: node.name: 'uno' differs from 'one' in members; leave it out here"},
    {D "tables: [{name: a, n: 2}]", "f:2: tables[1].n: 2 replicas, but the cluster has 1 member"},
    {DN MEMBERS "tables:\n  - name: a\n    w: 3\n",
     "f:9: tables[1].w: '3' is not allowed: a number from 1 to 2"},
    {DN MEMBERS "tables: [{name: a, n: 1, r: 2}]",
     "f:7: tables[1].r: '2' is not allowed: a number from 1 to 1"},
    {D "tables: [{name: a, n: 16}]", "f:2: tables[1].n: '16' is not allowed: a number from 1 to 15"},
    {D "tables: [{rule: lww}]", "f:2: tables[1].name: it is missing: a table needs one"},
    {D "tables: [{name: a, rule: LWW}]", "f:2: tables[1].rule: 'LWW' is not allowed: siblings or lww"},
    {D "tables: [{name: a}, {name: a}]",
     "f:2: tables[2].name: tables[1] has the same; each table needs its own"},
    {D "tables: [{name: a, ttl: 3 weeks}]", "f:2: tables[1].ttl: '3 weeks' is not allowed: 0 (for ever), or "
                                            "a time such as 500ms, 30s, 10m, 24h or 7d, to 36525d"},
    {D "tables: [{name: a, ttl: 36526d}]", "f:2: tables[1].ttl: '36526d' is not allowed: 0 (for ever), or a "
                                           "time such as 500ms, 30s, 10m, 24h or 7d, to 36525d"},
    {D "store: {engine: rocks}", "f:2: store.engine: 'rocks' is not allowed: btree, or lsm (experimental)"},
    {D "store: {cache: 64 MB}",
     "f:2: store.cache: '64 MB' is not allowed: a size from 1MB to 1TB, such as 256MB"},
    {D "store: {cache: 99999999999TB}",
     "f:2: store.cache: '99999999999TB' is not allowed: a size from 1MB to 1TB, such as 256MB"},
    {D "shards: 4\nstore: {cache: 2MB}", "f:3: store.cache: btree with 4 shards needs at least 4MB"},
    {D "shards: 2\nstore: {cache: 63MB, engine: lsm}",
     "f:3: store.cache: lsm with 2 shards needs at least 64MB"},
    {D "limits: {connections: 0}", "f:2: limits.connections: '0' is not allowed: a number from 1 to 1000000"},
    {D "log: {level: loud}", "f:2: log.level: 'loud' is not allowed: error, warn, info or debug"},
    {D "log: {level: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
     "f:2: log.level: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' is not allowed: error, warn, info or debug"},
    {"data: &a /d\n", "f:1: anchors (&name) are not allowed here"},
    {"data: *a\n", "f:1: aliases (*name) are not allowed here"},
    {D "---\n" D, "f:2: a second document; a configuration is one"},
    {D "node: [[[[[[[[1]]]]]]]]", "f:2: nested too deeply"},
    {D "node: {\n", "f:3: not YAML: did not find expected node content"},
    {D "\tnode: 1", "f:2: not YAML: found a tab character that violates indentation"},
    {"data: \"/d\\0e\"", "f:1: a NUL character in a value"},
    {"? [a]\n: b\n", "f:1: a mapping or list as a key"},
};

static void a_wrong_file_is_told_in_one_line(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char why[CONFIG_WHY_BYTES] = "";
        struct config *c = NULL;
        enum status status = config_parse(bytes_str(bad[i].yaml), "f", &c, why, sizeof why);
        if (bad[i].why == NULL) {
            assert_int_equal(status, STATUS_OK);
            config_free(c);
            continue;
        }
        if (status == STATUS_OK) config_free(c);
        if (status == STATUS_INVALID && strcmp(why, bad[i].why) == 0) continue;
        print_error("of:\n%s\nexpected %s\ngot      %s\n", bad[i].yaml, bad[i].why, why);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    char why[CONFIG_WHY_BYTES] = "";
    struct config *c = NULL;
    assert_int_equal(config_load("/nowhere/x.yaml", &c, why, sizeof why), STATUS_INVALID);
    assert_string_equal(why, "/nowhere/x.yaml: cannot be read: No such file or directory");
    assert_int_equal(config_load("/tmp", &c, why, sizeof why), STATUS_INVALID);
    assert_string_equal(why, "/tmp: is not a plain file; a configuration file is needed");
    char path[] = "/tmp/dynode-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, CONFIG_FILE_BYTES_MAX + 1), 0);
    close(fd);
    char expected[128];
    snprintf(expected, sizeof expected, "%s:1: the file is above 1 MiB", path);
    assert_int_equal(config_load(path, &c, why, sizeof why), STATUS_INVALID);
    assert_string_equal(why, expected);
    unlink(path);
}

/* Whatever the bytes are: a configuration or one line, never two, never a crash. */
static void damaged_files_end_in_one_line(void **state)
{
    (void)state;
    uint64_t seed = prng_entropy();
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    static const char whole[] = DN MEMBERS "tables:\n  - {name: a, ttl: 7d}\nstore:\n  cache: 64MB\n";
    static const char spice[] = "[]{}:,-&*!|>'\"%@`#? \n\t\\0a\xff";
    for (int i = 0; i < 3000; i++) {
        char text[sizeof whole + 8];
        memcpy(text, whole, sizeof whole);
        size_t size = sizeof whole - 1;
        for (uint64_t k = prng_below(&prng, 4); k-- > 0;) {
            text[prng_below(&prng, size)] = spice[prng_below(&prng, sizeof spice)];
        }
        if (prng_chance(&prng, 1, 4)) size = prng_below(&prng, size + 1);
        char why[CONFIG_WHY_BYTES] = "";
        struct config *c = NULL;
        if (config_parse(bytes_of(text, size), "f", &c, why, sizeof why) == STATUS_OK) {
            config_free(c);
            continue;
        }
        assert_int_equal(strncmp(why, "f:", 2), 0);
        assert_null(strchr(why, '\n'));
    }
}

/* What costs much is refused before it does: depth, and the number of values. */
static void large_structures_are_refused(void **state)
{
    (void)state;
    static const char *const pieces[] = {"[", "{a: ", "- ", "? ", "a,", "[[]],", "&a [*a,"};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct buffer text = {0};
        buffer_append(&text, "data: [", i >= 4 ? 7 : 0);
        while (text.size < CONFIG_FILE_BYTES_MAX - 16) buffer_append(&text, pieces[i], strlen(pieces[i]));
        char why[CONFIG_WHY_BYTES] = "";
        struct config *c = NULL;
        assert_int_equal(config_parse(buffer_bytes(&text), "f", &c, why, sizeof why), STATUS_INVALID);
        assert_null(strchr(why, '\n'));
        buffer_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_file_is_the_defaults),
        cmocka_unit_test(every_setting_is_read),
        cmocka_unit_test(a_member_listens_at_its_own_addresses),
        cmocka_unit_test(a_wrong_file_is_told_in_one_line),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(damaged_files_end_in_one_line),
        cmocka_unit_test(large_structures_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
