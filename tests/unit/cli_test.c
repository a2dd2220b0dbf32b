/* The program `dynode` against fake nodes: exit statuses, exact bytes, JSON, contexts, and the benchmark's
 * packing by hand, whose every request the fake node unpacks with protobuf-c. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "fake_node.h"

static struct fake_cluster cluster;
static struct fake_node nodes[FAKE_NODES_MAX];
static char output[1 << 20];
static size_t output_bytes;

static int start(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        nodes[i].prompt = true;
        fake_start(&nodes[i], &cluster, i);
    }
    setenv("DYNODE_ADDRESS", nodes[0].address, 1);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < FAKE_NODES_MAX; i++) fake_stop(&nodes[i]);
    memset(nodes, 0, sizeof(nodes));
    fake_forget(&cluster);
    return 0;
}

static FILE *begin(const char *arguments)
{
    char command[4096];
    snprintf(command, sizeof(command), "%s %s", DYNODE_PROGRAM, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    return pipe;
}

static int end(FILE *pipe)
{
    output_bytes = fread(output, 1, sizeof(output) - 1, pipe);
    output[output_bytes] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Run `dynode ARGUMENTS` through the shell; returns its exit status, its output is in output[]. */
static int dynode(const char *arguments)
{
    return end(begin(arguments));
}

static json_t *json(void)
{
    json_t *document = json_loads(output, 0, NULL);
    if (document == NULL) fail_msg("no JSON: %s", output);
    return document;
}

static void test_exit_statuses(void **state)
{
    (void)state;
    assert_int_equal(dynode("put t ada 'Ada Lovelace'"), 0);
    assert_int_equal(dynode("get t ada"), 0);
    assert_non_null(strstr(output, "Ada Lovelace"));
    assert_non_null(strstr(output, "637478")); /* the context, "ctx" */
    assert_int_equal(dynode("get t stranger 2>&1"), 1);
    assert_int_equal(dynode("get t stranger --json"), 1);
    assert_int_equal(dynode("get t 2>&1"), 2);
    assert_int_equal(dynode("get t ada extra 2>&1"), 2);
    assert_int_equal(dynode("get t ada --nonsense 2>&1"), 2);
    assert_int_equal(dynode("get t ada -a nowhere 2>&1"), 2);
    assert_int_equal(dynode("get t ada --ttl 5s 2>&1"), 2);
    assert_int_equal(dynode("put t ada x --context xyz 2>&1"), 2);
    assert_int_equal(dynode("put t ada x --deadline 5 2>&1"), 2);
    assert_int_equal(dynode("nonsense 2>&1"), 2);
    assert_int_equal(dynode("2>&1"), 2);
    assert_int_equal(dynode("get t ada -a tcp://127.0.0.1:1 2>&1"), 3);
    assert_non_null(strstr(output, "Connection refused"));
    assert_int_equal(dynode("put t maybe x --blind 2>&1"), 3);
    assert_non_null(strstr(output, "may have been written"));
    assert_int_equal(dynode("get t hang --deadline 200ms 2>&1"), 3);
    assert_int_equal(dynode("put t ada x --if-absent 2>&1"), 4);
    /* A condition holds whatever stands before or behind it. */
    assert_int_equal(dynode("put t ada x --context 0a --if-absent 2>&1"), 4);
    assert_int_equal(dynode("put t ada x --if-absent --context 0a 2>&1"), 4);
    assert_int_equal(dynode("put t ada x --if-absent --if-context 0a 2>&1"), 2);
    assert_int_equal(dynode("delete t ada --if-absent 2>&1"), 2);
    assert_non_null(strstr(output, "what is not there"));
    assert_int_equal(dynode("table create t 2>&1"), 4);
    assert_int_equal(dynode("table create fresh --rule lww --n 2"), 0);
    assert_int_equal(dynode("table create fresh --rule best 2>&1"), 2);
    assert_int_equal(dynode("table alter t 2>&1"), 2);
    assert_int_equal(dynode("table alter t --r 1 --rule lww 2>&1"), 2);
    assert_int_equal(dynode("table alter t --n 2 2>&1"), 2);
    assert_non_null(strstr(output, "fixed"));
    assert_int_equal(dynode("table create brief --ttl 0s 2>&1"), 2);
    assert_int_equal(dynode("table create brief --ttl 5s --for-ever 2>&1"), 2);
    assert_int_equal(dynode("ring nosuch ada 2>&1"), 2);
    assert_int_equal(dynode("--version"), 0);
}

static void test_fail_over(void **state)
{
    (void)state;
    char arguments[512];
    snprintf(arguments, sizeof(arguments), "put t k v -a tcp://127.0.0.1:1 -a %s", nodes[1].address);
    assert_int_equal(dynode(arguments), 0);
    snprintf(arguments, sizeof(arguments), "get t k --raw -a tcp://127.0.0.1:1,%s", nodes[1].address);
    assert_int_equal(dynode(arguments), 0);
    assert_string_equal(output, "v");
}

static void test_exact_bytes(void **state)
{
    (void)state;
    assert_int_equal(dynode("put t --hex-key 00ff0a - < " DYNODE_PROGRAM_SAMPLE), 0);
    assert_int_equal(dynode("get t --hex-key 00ff0a --raw | cmp - " DYNODE_PROGRAM_SAMPLE), 0);
    assert_int_equal(dynode("put t filed --file " DYNODE_PROGRAM_SAMPLE), 0);
    assert_int_equal(dynode("get t filed --raw | cmp - " DYNODE_PROGRAM_SAMPLE), 0);
    assert_int_equal(dynode("put t empty ''"), 0);
    assert_int_equal(dynode("get t empty --raw"), 0);
    assert_int_equal(output_bytes, 0);
    assert_int_equal(dynode("put t large --file /dev/zero 2>&1"), 2);
    assert_int_equal(dynode("put t long \"$(head -c 5000 /dev/zero | tr '\\0' x)\""), 0);
    assert_int_equal(dynode("get t long"), 0);
    assert_non_null(strstr(output, "the first 4096 of 5000 bytes"));
    assert_true(output_bytes < 4500);
    assert_int_equal(dynode("get t long --raw"), 0);
    assert_int_equal(output_bytes, 5000);
    /* A full disk is not success. */
    assert_int_equal(dynode("get t filed --raw 2>&1 >/dev/full"), 3);
    assert_non_null(strstr(output, "could be written"));
    assert_int_equal(dynode("get t stranger --json 2>&1 >/dev/full"), 1);
    assert_int_equal(dynode("scan t --raw 2>&1 >/dev/full"), 3);
    assert_int_equal(dynode("put t control --json \"$(printf 'a\\033[2Jb')\""), 0);
    assert_int_equal(dynode("get t control"), 0);
    assert_non_null(strstr(output, "a\\x1b[2Jb")); /* a value does not drive the terminal */
    assert_int_equal(dynode("put t lines --json \"$(printf 'a\\ncontext   00')\""), 0);
    assert_int_equal(dynode("get t lines"), 0);
    assert_non_null(strstr(output, "value     a\n          context   00\n")); /* nor says what we would */
    assert_int_equal(dynode("put t \"$(printf 'a\\nb')\" x --json"), 0);
    assert_int_equal(dynode("scan t"), 0);
    assert_non_null(strstr(output, "a\\nb\n"));
}

static void test_json(void **state)
{
    (void)state;
    assert_int_equal(dynode("put t ada \"$(printf 'n\\303\\251e')\" --json"), 0);
    json_decref(json());
    assert_int_equal(dynode("get t ada --json"), 0);
    json_t *document = json();
    assert_string_equal(json_string_value(json_object_get(document, "status")), "OK");
    assert_string_equal(json_string_value(json_object_get(document, "context")), "637478");
    json_t *sibling = json_array_get(json_object_get(document, "siblings"), 0);
    assert_string_equal(json_string_value(json_object_get(sibling, "value")), "n\303\251e");
    assert_string_equal(json_string_value(json_object_get(sibling, "value_hex")), "6ec3a965");
    json_decref(document);
    assert_int_equal(dynode("get t ada --json -a tcp://127.0.0.1:1"), 3);
    document = json();
    assert_string_equal(json_string_value(json_object_get(document, "status")), "UNAVAILABLE");
    json_decref(document);
    assert_int_equal(dynode("ring t ada --json"), 0);
    document = json();
    json_t *list = json_object_get(document, "preference_list");
    assert_int_equal(json_array_size(list), 2);
    json_int_t vnode = json_integer_value(json_object_get(document, "vnode"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "shard")),
                     vnode % FAKE_SHARDS);
    json_decref(document);
    assert_int_equal(dynode("status --interval 100ms --json"), 0);
    document = json();
    json_t *member = json_array_get(json_object_get(document, "members"), 1);
    assert_true(json_is_true(json_object_get(member, "answered")));
    /* It has served the first look at least before the second. */
    json_t *shard = json_array_get(json_object_get(member, "shard_reports"), 0);
    double rate = json_number_value(json_object_get(shard, "gets_per_second"));
    assert_true(rate >= 10 && rate < 1000);
    json_decref(document);
}

/* Columns stand beneath their heads, however long the names of nodes are. */
static void test_columns(void **state)
{
    (void)state;
    static const char *const commands[] = {"status --interval 0s", "ring t ada"};
    uint32_t rows = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(dynode(commands[i]), 0);
        size_t id = 0, shard = 0; /* where ID begins, and SHARD ends */
        for (char *line = strtok(output, "\n"), *found; line != NULL; line = strtok(NULL, "\n")) {
            if (strstr(line, " NODE ") != NULL || strncmp(line, "NODE ", 5) == 0) {
                id = (found = strstr(line, " ID ")) == NULL ? 0 : (size_t)(found - line) + 1;
                shard = (found = strstr(line, " SHARD ")) == NULL ? 0 : (size_t)(found - line) + 6;
            } else if (strstr(line, "fake") != NULL) {
                rows++;
                if (id > 0 && (line[id - 1] != ' ' || line[id] == ' ')) fail_msg("%s", line);
                if (shard > 0 && (line[shard] != ' ' || line[shard - 1] == ' ')) fail_msg("%s", line);
            }
        }
    }
    assert_int_equal(rows, 2 + 2 * 2 + 2);
}

static void test_context_first(void **state)
{
    (void)state;
    assert_int_equal(dynode("put t k one"), 0);
    assert_int_equal(nodes[0].with_context + nodes[1].with_context, 0); /* there was nothing */
    assert_int_equal(dynode("put t k two"), 0);
    assert_int_equal(nodes[0].with_context + nodes[1].with_context, 1);
    assert_int_equal(dynode("put t k three --blind"), 0);
    assert_int_equal(nodes[0].with_context + nodes[1].with_context, 1);
    assert_int_equal(dynode("put t k four --context 0a0b"), 0);
    assert_int_equal(nodes[0].with_context + nodes[1].with_context, 2);
    assert_int_equal(dynode("put t parts x"), 0);
    assert_int_equal(dynode("get t parts --raw 2>&1"), 4);
    assert_int_equal(dynode("get t parts"), 0);
    assert_non_null(strstr(output, "3 siblings"));
}

static void test_scan(void **state)
{
    (void)state;
    static const char *const keys[] = {"one", "two", "three", "four", "five"};
    for (int i = 0; i < 5; i++) {
        char arguments[64];
        snprintf(arguments, sizeof(arguments), "put t %s x --blind", keys[i]);
        assert_int_equal(dynode(arguments), 0);
    }
    assert_int_equal(dynode("scan t"), 0);
    assert_int_equal(output_bytes, 4 + 4 + 6 + 5 + 5);
    for (int i = 0; i < 5; i++) assert_non_null(strstr(output, keys[i]));
    assert_int_equal(dynode("scan t --limit 3 | wc -l"), 0);
    assert_int_equal(atoi(output), 3);
    assert_int_equal(dynode("scan t --limit 3 --json"), 0);
    json_t *document = json();
    assert_int_equal(json_integer_value(json_object_get(document, "count")), 3);
    assert_int_equal(json_array_size(json_object_get(document, "keys")), 3);
    json_decref(document);
    assert_int_equal(dynode("scan t --count --limit 3 2>&1"), 2);
    assert_int_equal(dynode("scan t --raw --json 2>&1"), 2);
    assert_int_equal(dynode("scan t --count --json"), 0);
    document = json();
    assert_int_equal(json_integer_value(json_object_get(document, "count")), 5);
    json_decref(document);
    assert_int_equal(dynode("scan t --count --copies --json"), 0);
    document = json();
    assert_int_equal(json_integer_value(json_object_get(document, "count")), 10);
    json_decref(document);
    assert_int_equal(dynode("scan t --node nosuch 2>&1"), 2);
    nodes[1].hello = FAKE_HELLO_CLOSE;
    assert_int_equal(dynode("scan t --deadline 1s 2>&1"), 3);
    assert_non_null(strstr(output, "missing"));
}

static json_t *phase(json_t *document, size_t index)
{
    return json_array_get(json_object_get(document, "phases"), index);
}

/* Every request is unpacked by the fake node, every value read is verified, every operation is answered; and
 * keys go to their homes. */
static void test_bench(void **state)
{
    (void)state;
    static const char *const shapes[] = {
        "-c 8 -f 4",
        "-c 3 -f 1 --threads 3",
        "-c 8 -f 3 --operations-per-request 5 --rate 20000",
        "-c 4 -f 2 --operations-per-request 7 --value-bytes 1000 --key-bytes 33 --distribution zipfian",
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        char arguments[512];
        uint32_t misrouted = nodes[0].misrouted + nodes[1].misrouted;
        snprintf(arguments, sizeof(arguments),
                 "bench --json --table t --records 500 --operations 3001 --check %s put get f 2>/dev/null",
                 shapes[i]);
        assert_int_equal(dynode(arguments), 0);
        json_t *document = json();
        assert_int_equal(json_integer_value(json_object_get(phase(document, 0), "operations")), 500);
        for (size_t k = 0; k < 4; k++) {
            json_t *one = phase(document, k);
            if (k > 0) assert_int_equal(json_integer_value(json_object_get(one, "operations")), 3001);
            assert_int_equal(json_integer_value(json_object_get(one, "errors")), 0);
            assert_int_equal(json_integer_value(json_object_get(one, "wrong")), 0);
            assert_null(json_object_get(json_object_get(one, "statuses"), "NOT_FOUND"));
        }
        json_decref(document);
        if (i == 0) assert_int_equal(nodes[0].misrouted + nodes[1].misrouted, misrouted);
    }
    /* A rate that nobody can answer is not passed over in silence, and a wrong name makes no table. */
    assert_int_equal(
        dynode("bench --table t --records 500 --no-load --operations 2000 --rate 100000000 -c 1 get 2>&1"),
        0);
    assert_non_null(strstr(output, "BEHIND"));
    assert_int_equal(dynode("bench --table nosuch --no-load --operations 10 get 2>&1"), 2);
    assert_non_null(strstr(output, "no table nosuch"));
    /* A value that is not what was written is found: here those of another shape of key. */
    for (uint32_t i = 0; i < cluster.record_count; i++) {
        if (cluster.records[i].value_size > 30) cluster.records[i].value[30] ^= 1;
    }
    assert_int_equal(
        dynode(
            "bench --json --table t --records 500 --no-load --operations 1000 --check -c 4 get 2>/dev/null"),
        3);
    json_t *document = json();
    assert_int_equal(json_integer_value(json_object_get(phase(document, 0), "wrong")), 1000);
    json_decref(document);
}

static json_int_t count_of(json_t *phase, const char *kind)
{
    json_t *latency = json_object_get(json_object_get(phase, "latency"), kind);
    return latency == NULL ? 0 : json_integer_value(json_object_get(latency, "count"));
}

/* How often the record asked for most was asked for, of 4,000 reads over 500. */
static uint32_t most_wanted(const char *distribution)
{
    char arguments[256];
    uint32_t most = 0;
    for (uint32_t i = 0; i < cluster.record_count; i++) cluster.records[i].tries = 0;
    snprintf(
        arguments, sizeof(arguments),
        "bench --json --table t --records 500 --no-load --operations 4000 -c 4 -f 4 --distribution %s get "
        "2>/dev/null",
        distribution);
    assert_int_equal(dynode(arguments), 0);
    for (uint32_t i = 0; i < cluster.record_count; i++)
        if (cluster.records[i].tries > most) most = cluster.records[i].tries;
    return most;
}

/* The mixes are what their names say, within bounds ten standard deviations wide, and so are the
 * distributions: of 500 records a zipfian stream of 0.99 asks for the first in 14 % of all cases. */
static void test_bench_mixes(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    assert_int_equal(
        dynode(
            "bench --json --table t --records 500 --operations 4000 -c 4 -f 4 --check a b c f 2>/dev/null"),
        0);
    json_t *document = json();
    json_int_t puts_[] = {0, count_of(phase(document, 1), "put"), count_of(phase(document, 2), "put"),
                          count_of(phase(document, 3), "put"), count_of(phase(document, 4), "rmw")};
    assert_in_range(puts_[1], COUNT * 40 / 100, COUNT * 60 / 100);
    assert_in_range(puts_[2], COUNT * 15 / 1000, COUNT * 85 / 1000);
    assert_int_equal(puts_[3], 0);
    assert_in_range(puts_[4], COUNT * 40 / 100, COUNT * 60 / 100);
    assert_int_equal(count_of(phase(document, 4), "put"), puts_[4]);
    for (size_t i = 0; i < 5; i++) {
        static const char *const names[] = {"p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "max_ms"};
        json_t *kind =
            json_object_get(json_object_get(phase(document, i), "latency"), i == 0 ? "put" : "read");
        double before = 0;
        for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
            json_t *number = json_object_get(kind, names[k]);
            assert_non_null(number);
            if (json_number_value(number) < before) fail_msg("%s is below the one before it", names[k]);
            before = json_number_value(number);
        }
        assert_true(before > 0);
    }
    json_decref(document);
    assert_in_range(most_wanted("zipfian"), COUNT * 8 / 100, COUNT * 25 / 100);
    assert_in_range(most_wanted("uniform"), COUNT / 500, COUNT * 2 / 100);
}

static double put_ms(json_t *phase, const char *name)
{
    json_t *kind = json_object_get(json_object_get(phase, "latency"), "put");
    return json_number_value(json_object_get(kind, name));
}

/* With --rate, latency counts from when an operation was due, so that a node which stops for half a second in
 * the middle of two and a half is seen by all that were due meanwhile, a fifth of them. A generator that
 * measures from when it could send would show what was in flight, 64 of 2,500. Only lower bounds: a busy
 * machine adds latency. */
static void test_bench_shows_a_stall(void **state)
{
    (void)state;
    enum { RATE = 1000, OPERATIONS = 2500, STALL_MS = 500 };
    fake_stop(&nodes[1]); /* so that all keys are at one node */
    cluster.count = 1;
    nodes[0].stall_ms = STALL_MS;
    nodes[0].stall_at = nodes[0].operations + OPERATIONS / 4;
    assert_int_equal(dynode("bench --json --table t --records 100 --no-load --operations 2500 --rate 1000 "
                            "-c 4 -f 16 put 2>/dev/null"),
                     0);
    assert_int_equal(nodes[0].stall_at, 0);
    json_t *document = json(), *one = phase(document, 0);
    assert_int_equal(put_ms(one, "count"), OPERATIONS);
    assert_true(put_ms(one, "max_ms") >= STALL_MS * 0.95);
    assert_true(put_ms(one, "p99_ms") >= STALL_MS * 0.9);
    /* A tenth of all took longer than a tenth of the stall, which is half of those that were due in it. */
    static_assert(OPERATIONS / 10 >= RATE * STALL_MS / 1000 / 2, "what p90 says of the number of operations");
    assert_true(put_ms(one, "p90_ms") >= STALL_MS * 0.1);
    json_decref(document);
}

/* Nodes that break off in the middle: what was in flight is counted, what had not been sent goes to the other
 * node, and when nobody is left the benchmark ends. */
static void test_bench_of_dying_nodes(void **state)
{
    (void)state;
    FILE *pipe =
        begin("bench --json --table t --records 300 --no-load --duration 60s -c 4 -f 4 a 2>/dev/null");
    while (nodes[0].operations < 500 || nodes[1].operations < 500) usleep(1000);
    nodes[0].drop_all = true;
    while (nodes[0].drop_all) usleep(1000);
    uint32_t before = nodes[0].operations;
    uint32_t misrouted = nodes[1].misrouted;
    while (nodes[1].misrouted < misrouted + 500) usleep(1000); /* the other's keys */
    assert_int_equal(nodes[0].operations, before);
    nodes[1].drop_all = true;
    assert_int_equal(end(pipe), 3);
    json_t *document = json(), *one = phase(document, 0);
    assert_true(json_is_true(json_object_get(one, "stalled")));
    json_int_t lost =
        json_integer_value(json_object_get(json_object_get(one, "statuses"), "CONNECTION_LOST"));
    assert_in_range(lost, 1, 16);
    json_decref(document);
}

/* How it goes, once a second, on stderr. Three seconds for two lines: a busy machine naps longer. */
static void test_bench_progress(void **state)
{
    (void)state;
    assert_int_equal(dynode("bench --table t --no-load --duration 3s --rate 100 -c 2 get 2>&1 >/dev/null"),
                     0);
    uint32_t lines = 0;
    for (const char *at = output; *at != '\0'; at = strchr(at, '\n') + 1, lines++) {
        unsigned seconds, errors;
        double rate, mean;
        int fields =
            sscanf(at, "  get %u s %lf op/s mean %lf ms %u errors\n", &seconds, &rate, &mean, &errors);
        if (fields != 4 || rate <= 0 || errors != 0) fail_msg("no line of progress: %s", at);
        if (seconds < lines + 1) fail_msg("too soon: %s", at);
    }
    assert_in_range(lines, 2, 3);
}

static void test_bench_usage(void **state)
{
    (void)state;
    assert_int_equal(dynode("bench -a tcp://127.0.0.1:1 2>&1"), 3);
    assert_int_equal(dynode("bench nosuch 2>&1"), 2);
    assert_int_equal(dynode("bench --value-bytes 8 --check 2>&1"), 2);
    assert_int_equal(dynode("bench --threads 9 -c 8 2>&1"), 2);
    assert_int_equal(dynode("bench --protocol resp siblings 2>&1"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exit_statuses, start, stop),
        cmocka_unit_test_setup_teardown(test_fail_over, start, stop),
        cmocka_unit_test_setup_teardown(test_exact_bytes, start, stop),
        cmocka_unit_test_setup_teardown(test_json, start, stop),
        cmocka_unit_test_setup_teardown(test_columns, start, stop),
        cmocka_unit_test_setup_teardown(test_context_first, start, stop),
        cmocka_unit_test_setup_teardown(test_scan, start, stop),
        cmocka_unit_test_setup_teardown(test_bench, start, stop),
        cmocka_unit_test_setup_teardown(test_bench_mixes, start, stop),
        cmocka_unit_test_setup_teardown(test_bench_shows_a_stall, start, stop),
        cmocka_unit_test_setup_teardown(test_bench_of_dying_nodes, start, stop),
        cmocka_unit_test_setup_teardown(test_bench_progress, start, stop),
        cmocka_unit_test_setup_teardown(test_bench_usage, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
