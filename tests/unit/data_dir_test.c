/* Data directory and birth: what a node refuses to start on, in the words that people read, and that refusing
 * harms nothing. */
#include "service/data_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/node_record.h"
#include "service/birth.h"

static char root[64], data[96], why[512], expected[512];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/dynode-data-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(data, sizeof data, "%s/d", root);
    why[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static struct config *config_with(const char *more)
{
    char yaml[1024];
    struct config *config = NULL;
    snprintf(yaml, sizeof yaml, "data: %s\n%s", data, more);
    if (config_parse(bytes_str(yaml), "f", &config, why, sizeof why) != STATUS_OK) fail_msg("%s", why);
    return config;
}

static enum status read_with(const char *more, struct data_dir *dir)
{
    struct config *config = config_with(more);
    enum status status = data_dir_read(config, dir, why, sizeof why);
    config_free(config);
    return status;
}

/* As node_runtime_start does at the first start. */
static void settle(const struct data_dir *dir)
{
    struct node_record record = {
        .cluster = dir->cluster, .node = dir->node, .shards = dir->shards, .vnodes = dir->vnodes};
    mkdir(data, 0700);
    assert_int_equal(node_record_write(data, &record, why, sizeof why), STATUS_OK);
}

static void put_file(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", data, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void ids_are_drawn_once_and_kept(void **state)
{
    (void)state;
    struct data_dir first, second;
    assert_int_equal(read_with("shards: 3", &first), STATUS_OK);
    assert_true(first.fresh);
    assert_true(first.cluster != 0 && first.node != 0 && first.cluster != first.node);
    assert_int_equal(access(data, F_OK), -1); /* looking makes nothing */
    settle(&first);
    assert_int_equal(read_with("", &second),
                     STATUS_OK); /* auto: as it was made, whatever the cores are now */
    assert_false(second.fresh);
    assert_true(first.cluster == second.cluster && first.node == second.node);
    assert_int_equal(second.shards, 3);
}

static void another_nodes_directory_is_refused(void **state)
{
    (void)state;
    static const char own[] =
        "cluster: {id: 00000000000000c1, vnodes: 64}\nnode: {id: 00000000000000a1}\nshards: 2\n";
    static const struct {
        const char *yaml, *why;
    } others[] = {
        {"cluster: {id: 00000000000000c2, vnodes: 64}\n",
         "its data belongs to cluster 00000000000000c1, not to 00000000000000c2 as cluster.id says"},
        {"cluster: {vnodes: 64}\nnode: {id: 00000000000000a2}\n",
         "its data belongs to node 00000000000000a1, not to 00000000000000a2 as node.id says"},
        {"", "its data was made with 64 vnodes, not 1024 as cluster.vnodes says"},
        {"cluster: {vnodes: 64}\nshards: 4\n",
         "its data was made with 2 shards, not 4 as shards says: set it back"},
    };
    struct data_dir dir;
    assert_int_equal(read_with(own, &dir), STATUS_OK);
    settle(&dir);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(read_with(others[i].yaml, &dir), STATUS_INVALID);
        snprintf(expected, sizeof expected, "%s: %s", data, others[i].why);
        assert_string_equal(why, expected);
    }
    assert_int_equal(read_with(own, &dir), STATUS_OK); /* unharmed */
}

static void damage_is_not_taken_for_a_fresh_start(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "dynode\n",
                                        "cluster 1\nnode 1\nshards 0\nvnodes 1\ncomplete 1\n"};
    struct data_dir dir;
    assert_int_equal(mkdir(data, 0700), 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_file("node", texts[i]);
        assert_int_equal(read_with("", &dir), STATUS_INVALID);
        snprintf(expected, sizeof expected,
                 "%s/node is damaged: it must say cluster, node, shards, vnodes and complete", data);
        assert_string_equal(why, expected);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/node", data);
    assert_int_equal(unlink(path), 0);
    put_file("shard-0", "");
    assert_int_equal(read_with("", &dir), STATUS_INVALID);
    snprintf(expected, sizeof expected,
             "%s: there are stores, but the file `node` that says whose they are is gone", data);
    assert_string_equal(why, expected);
}

static void a_place_that_cannot_be_used_is_told(void **state)
{
    (void)state;
    struct data_dir dir;
    int fd = open(data, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(read_with("", &dir), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: data names a file; a directory is needed", data);
    assert_string_equal(why, expected);
    snprintf(data, sizeof data, "%s/d/e", root);
    assert_int_equal(read_with("", &dir), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: the data directory cannot be made: Not a directory", data);
    assert_string_equal(why, expected);
    snprintf(data, sizeof data, "%s/none/e", root);
    assert_int_equal(read_with("", &dir), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: the data directory cannot be made: No such file or directory",
             data);
    assert_string_equal(why, expected);
    if (geteuid() == 0) return; /* root may write anywhere */
    snprintf(data, sizeof data, "%s/ro", root);
    assert_int_equal(mkdir(data, 0500), 0);
    assert_int_equal(read_with("", &dir), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: the data directory cannot be written: Permission denied", data);
    assert_string_equal(why, expected);
}

static enum status secret_with(const char *path, struct context_secret *secret)
{
    char yaml[256];
    snprintf(yaml, sizeof yaml, "cluster: {secret_file: %s}\n", path);
    struct config *config = config_with(yaml);
    enum status status = birth_read_secret(config, 1, secret, why, sizeof why);
    config_free(config);
    return status;
}

static void a_secret_must_be_secret(void **state)
{
    (void)state;
    char path[96];
    struct context_secret secret, same;
    snprintf(path, sizeof path, "%s/secret", root);
    assert_int_equal(secret_with(path, &secret), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: the secret file cannot be used: No such file or directory",
             path);
    assert_string_equal(why, expected);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(secret_with(path, &secret), STATUS_INVALID);
    snprintf(expected, sizeof expected, "%s: the secret file cannot be used: it is empty", path);
    assert_string_equal(why, expected);
    assert_int_equal(write(fd, "xyzzy", 5), 5);
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(secret_with(path, &secret), STATUS_INVALID);
    snprintf(
        expected, sizeof expected,
        "%s: the secret file cannot be used: others than its owner can use it; its mode must be 0600 or 0400",
        path);
    assert_string_equal(why, expected);
    assert_int_equal(fchmod(fd, 0400), 0);
    assert_int_equal(secret_with(path, &secret), STATUS_OK);
    close(fd);
    same = context_secret_derive(bytes_str("xyzzy"), 1);
    assert_memory_equal(&secret, &same, sizeof secret);
}

/* Every node must make the same tables of the same configuration, or the first thing they did would be to
 * differ. */
static void all_nodes_are_born_with_equal_tables(void **state)
{
    (void)state;
    static const char shared[] =
        "cluster: {id: 00000000000000c1}\n"
        "members:\n  - {id: 00000000000000a1, name: one, peer: tcp://x:1, client: tcp://x:2, zone: east}\n"
        "  - {id: 00000000000000a2, name: two, peer: tcp://y:1, client: tcp://y:2, weight: 7}\n"
        "tables: [{name: a, ttl: 5s}, {name: b, rule: lww, n: 1}]\n";
    struct birth births[2];
    for (int i = 0; i < 2; i++) {
        char yaml[1024];
        snprintf(yaml, sizeof yaml, "node: {id: 00000000000000a%d}\n%s", i + 1, shared);
        struct config *config = config_with(yaml);
        assert_int_equal(birth_init(&births[i], config, 0xc1, 0xa1 + (uint64_t)i, 4, "tcp://z:9", "tcp://z:8",
                                    1000 + (uint64_t)i, why, sizeof why),
                         STATUS_OK);
        config_free(config);
    }
    const struct cluster *a = &births[0].cluster;
    assert_int_equal(a->member_count, 2);
    assert_int_equal(a->table_count, 2);
    assert_memory_equal(a->tables, births[1].cluster.tables, 2 * sizeof *a->tables);
    assert_int_equal(cluster_ring_version(a), cluster_ring_version(&births[1].cluster));
    assert_int_equal(a->tables[0].ttl_ms, 5000);
    assert_int_equal(a->tables[0].n, 2);
    assert_int_equal(births[1].self.weight, 7);
    assert_int_equal(births[1].self.shards, 4);
    assert_string_equal(births[1].self.client_address,
                        "tcp://y:2"); /* what members say, not where it listens */
    struct member self = *cluster_find_member(a, 0xa1);
    assert_int_equal(self.incarnation, 1000);
    assert_int_equal(cluster_find_member(a, 0xa2)->incarnation, 0);
    assert_true(cluster_merge(&births[0].cluster, &births[1].cluster));
    cluster_merge(&births[1].cluster, &births[0].cluster);
    assert_true(cluster_equal(&births[0].cluster, &births[1].cluster));
    birth_fini(&births[0]);
    birth_fini(&births[1]);
}

static void a_node_alone_says_where_it_listens(void **state)
{
    (void)state;
    struct birth birth;
    struct config *config = config_with("");
    assert_int_equal(
        birth_init(&birth, config, 1, 0xabcdef0123456789, 2, "tcp://127.0.0.1:40000", "", 5, why, sizeof why),
        STATUS_OK);
    assert_string_equal(birth.self.name, "node-abcdef01");
    assert_string_equal(birth.self.client_address, "tcp://127.0.0.1:40000");
    assert_int_equal(birth.cluster.member_count, 1);
    birth_fini(&birth);
    config_free(config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ids_are_drawn_once_and_kept),

        TEST(another_nodes_directory_is_refused),   TEST(damage_is_not_taken_for_a_fresh_start),
        TEST(a_place_that_cannot_be_used_is_told),  TEST(a_secret_must_be_secret),
        TEST(all_nodes_are_born_with_equal_tables), TEST(a_node_alone_says_where_it_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
