/* Seeds: writes the corpora that the fuzzers started from, made of real messages: fuzz_seeds DIRECTORY. What
 * the kept corpus holds beyond them was found by fuzzing (tests/fuzz/run --merge). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/hash.h"
#include "ring/digest.h"
#include "steps.h"
#include "wire/cluster_wire.h"
#include "wire/frame.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

static const char *directory;
static struct arena arena;

static void write_seed(const char *target, const char *name, struct bytes bytes)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, target);
    mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/%s/seed-%s", directory, target, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(bytes.size == 0 || fwrite(bytes.data, 1, bytes.size, file) == bytes.size);
    CHECK(fclose(file) == 0);
}

static struct bytes pack(const void *message)
{
    uint8_t *to = arena_alloc(&arena, protobuf_c_message_get_packed_size(message));
    return bytes_of(to, protobuf_c_message_pack(message, to));
}

static ProtobufCBinaryData text(const char *string)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)string, .len = strlen(string)};
}

/* --- objects and contexts --- */

static struct object some_object(uint32_t clocks, uint64_t start)
{
    struct object object = {.context = {ARENA_ARRAY(&arena, struct dot, clocks), clocks},
                            .siblings = ARENA_ARRAY(&arena, struct sibling, clocks),
                            .count = clocks};
    for (uint32_t i = 0; i < clocks; i++) {
        object.context.entries[i] = (struct dot){start + i, i + 2};
        object.siblings[i] = (struct sibling){.dot = {start + i, i + 1},
                                              .stamp = (1700000000000ULL << 16) + i,
                                              .token = {i, i},
                                              .expires_ms = i % 2 == 0 ? 0 : 1800000000000,
                                              .tombstone = i % 3 == 2,
                                              .value = i % 3 == 2 ? bytes_of(NULL, 0) : bytes_of("value", 5)};
    }
    return object;
}

static struct bytes encoded_object(uint32_t clocks, uint64_t start)
{
    struct object object = some_object(clocks, start);
    return object_encode(&object, &arena);
}

static void object_seeds(void)
{
    static const struct {
        const char *name;
        uint32_t clocks;
        uint64_t start;
        uint32_t clocks_b;
        uint64_t start_b;
    } cases[] = {{"empty", 0, 1, 0, 1}, {"one", 1, 1, 0, 1}, {"apart", 3, 1, 3, 10}, {"meet", 5, 1, 5, 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes a = encoded_object(cases[i].clocks, cases[i].start);
        struct bytes b = encoded_object(cases[i].clocks_b, cases[i].start_b);
        struct buffer seed = {0};
        uint8_t head[4];
        put_be16(head, (uint16_t)a.size);
        put_be16(head + 2, (uint16_t)(4 * i));
        buffer_append(&seed, head, 4);
        buffer_append(&seed, a.data, a.size);
        buffer_append(&seed, b.data, b.size);
        write_seed("object", cases[i].name, buffer_bytes(&seed));
        buffer_fini(&seed);
    }
    struct context_secret secret = world_secret();
    struct object object = some_object(3, 5);
    write_seed("context", "sealed", context_seal(&secret, 1, bytes_of("k", 1), &object, &arena));
}

/* --- what clients send --- */

static Dynode__Client__Operation *operation(Dynode__Client__Operation__KindCase kind, void *body)
{
    Dynode__Client__Operation *out = ARENA_NEW(&arena, Dynode__Client__Operation);
    dynode__client__operation__init(out);
    out->kind_case = kind;
    out->get = body;
    return out;
}

static Dynode__Client__Operation *get_of(const char *table, const char *key)
{
    Dynode__Client__Get *get = ARENA_NEW(&arena, Dynode__Client__Get);
    dynode__client__get__init(get);
    get->table = (char *)(uintptr_t)table;
    get->key = text(key);
    return operation(DYNODE__CLIENT__OPERATION__KIND_GET, get);
}

static Dynode__Client__Operation *put_of(const char *table, const char *key, const char *value,
                                         const char *context, Dynode__Client__Precondition precondition)
{
    Dynode__Client__Put *put = ARENA_NEW(&arena, Dynode__Client__Put);
    dynode__client__put__init(put);
    put->table = (char *)(uintptr_t)table;
    put->key = text(key);
    put->value = text(value);
    put->context = text(context);
    put->precondition = precondition;
    put->token = ARENA_NEW(&arena, Dynode__Client__WriteToken);
    dynode__client__write_token__init(put->token);
    put->token->client = 1;
    put->token->sequence = (uint64_t)value[0];
    return operation(DYNODE__CLIENT__OPERATION__KIND_PUT, put);
}

static Dynode__Client__Operation *delete_of(const char *table, const char *key, const char *context)
{
    Dynode__Client__Delete *delete = ARENA_NEW(&arena, Dynode__Client__Delete);
    dynode__client__delete__init(delete);
    delete->table = (char *)(uintptr_t)table;
    delete->key = text(key);
    delete->context = text(context);
    return operation(DYNODE__CLIENT__OPERATION__KIND_DELETE, delete);
}

static Dynode__Client__Operation *create_of(const char *name, uint32_t n)
{
    Dynode__Client__CreateTable *create = ARENA_NEW(&arena, Dynode__Client__CreateTable);
    dynode__client__create_table__init(create);
    create->table = ARENA_NEW(&arena, Dynode__Client__TableInfo);
    dynode__client__table_info__init(create->table);
    create->table->name = (char *)(uintptr_t)name;
    create->table->n = n;
    return operation(DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE, create);
}

static Dynode__Client__Operation *alter_of(const char *name)
{
    Dynode__Client__AlterTable *alter = ARENA_NEW(&arena, Dynode__Client__AlterTable);
    dynode__client__alter_table__init(alter);
    alter->name = (char *)(uintptr_t)name;
    alter->r = alter->w = 1;
    alter->ttl_ms = 1000;
    return operation(DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE, alter);
}

static Dynode__Client__Operation *drop_of(const char *name)
{
    Dynode__Client__DropTable *drop = ARENA_NEW(&arena, Dynode__Client__DropTable);
    dynode__client__drop_table__init(drop);
    drop->name = (char *)(uintptr_t)name;
    return operation(DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE, drop);
}

static Dynode__Client__Operation *scan_of(const char *table, uint32_t limit)
{
    Dynode__Client__Scan *scan = ARENA_NEW(&arena, Dynode__Client__Scan);
    dynode__client__scan__init(scan);
    scan->table = (char *)(uintptr_t)table;
    scan->limit = limit;
    return operation(DYNODE__CLIENT__OPERATION__KIND_SCAN, scan);
}

static Dynode__Client__Operation *bare(Dynode__Client__Operation__KindCase kind)
{
    Dynode__Client__ListTables *list = ARENA_NEW(&arena, Dynode__Client__ListTables);
    Dynode__Client__ClusterInfo *info = ARENA_NEW(&arena, Dynode__Client__ClusterInfo);
    Dynode__Client__NodeStatus *status = ARENA_NEW(&arena, Dynode__Client__NodeStatus);
    dynode__client__list_tables__init(list);
    dynode__client__cluster_info__init(info);
    dynode__client__node_status__init(status);
    if (kind == DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES) return operation(kind, list);
    if (kind == DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO) return operation(kind, info);
    return operation(kind, status);
}

static struct bytes request_of(uint64_t id, uint32_t deadline_ms, Dynode__Client__Operation **operations,
                               size_t count)
{
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    request.id = id;
    request.deadline_ms = deadline_ms;
    request.operations = operations;
    request.n_operations = count;
    return pack(&request);
}

#define REQUEST(id, deadline_ms, ...)                                                                        \
    request_of((id), (deadline_ms), (Dynode__Client__Operation *[]){__VA_ARGS__},                            \
               sizeof((Dynode__Client__Operation *[]){__VA_ARGS__}) / sizeof(Dynode__Client__Operation *))

struct script {
    const char *name;
    struct buffer bytes;
};

static struct script script(const char *name, uint8_t first)
{
    struct script out = {.name = name};
    buffer_append(&out.bytes, &first, 1);
    return out;
}

static void save(const char *target, struct script *script)
{
    write_seed(target, script->name, buffer_bytes(&script->bytes));
    buffer_fini(&script->bytes);
}

static void client(struct script *script, uint32_t who, struct bytes request)
{
    step_append(&script->bytes, step_what(STEP_CLIENT, who), request);
    write_seed("request", script->name, request);
}

static void pass(struct script *script, uint16_t ms)
{
    uint8_t bytes[2];
    put_be16(bytes, ms);
    step_append(&script->bytes, step_what(STEP_TIME, 0), bytes_of(bytes, 2));
}

static void client_seeds(const char *target)
{
    for (uint8_t first = 0; first < 2; first++) {
        struct script basic = script(first ? "basic3" : "basic1", first);
        client(&basic, 0, REQUEST(1, 0, put_of("s", "k", "v", "", 0), get_of("s", "k"), get_of("l", "none")));
        client(&basic, 1, REQUEST(2, 0, get_of("s", "k")));
        client(&basic, 0, REQUEST(3, 0, put_of("s", "k", "w", "@", 0), put_of("l", "k", "x", "", 0)));
        client(&basic, 2,
               REQUEST(4, 100, delete_of("s", "k", "@"), delete_of("l", "k", ""), get_of("s", "k")));
        save(target, &basic);

        struct script conditions = script(first ? "conditions3" : "conditions1", first);
        client(&conditions, 0,
               REQUEST(1, 0, put_of("s", "k", "v", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT)));
        client(&conditions, 1,
               REQUEST(2, 0, put_of("s", "k", "w", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT)));
        client(&conditions, 0,
               REQUEST(3, 0, put_of("s", "k", "x", "@", DYNODE__CLIENT__PRECONDITION__IF_CONTEXT)));
        client(&conditions, 0, REQUEST(4, 0, put_of("s", "k", "y", "", 0), get_of("s", "k")));
        save(target, &conditions);

        struct script tables = script(first ? "tables3" : "tables1", first);
        client(&tables, 0, REQUEST(1, 0, create_of("t", 0), create_of("s", 1), create_of("u", 9)));
        client(&tables, 0, REQUEST(2, 0, put_of("t", "a", "1", "", 0), put_of("t", "b", "2", "", 0)));
        client(&tables, 0, REQUEST(3, 0, alter_of("t"), scan_of("t", 1), scan_of("t", 0), drop_of("s")));
        client(&tables, 0,
               REQUEST(4, 0, bare(DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES),
                       bare(DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO),
                       bare(DYNODE__CLIENT__OPERATION__KIND_NODE_STATUS), drop_of("t")));
        save(target, &tables);

        struct script faults = script(first ? "faults3" : "faults1", first);
        step_append(&faults.bytes, step_what(STEP_HOLD, 0), bytes_of(NULL, 0));
        client(&faults, 0, REQUEST(1, 0, put_of("s", "k", "v", "", 0), get_of("s", "k")));
        pass(&faults, 500);
        step_append(&faults.bytes, step_what(STEP_LINK, 3), bytes_of("\2", 1));
        client(&faults, 0, REQUEST(2, 1000, put_of("s", "k", "w", "", 0), create_of("t", 3)));
        step_append(&faults.bytes, step_what(STEP_CLOSE, 0), bytes_of(NULL, 0));
        pass(&faults, 2000);
        step_append(&faults.bytes, step_what(STEP_LINK, 0), bytes_of("\2", 1));
        step_append(&faults.bytes, step_what(STEP_HOLD, 0), bytes_of(NULL, 0));
        client(&faults, 0, REQUEST(3, 0, get_of("s", "k")));
        save(target, &faults);
    }
}

/* --- what peers send --- */

static void peer(struct script *script, uint32_t who, uint64_t request, Dynode__Peer__Message__BodyCase kind,
                 void *body)
{
    Dynode__Peer__Message message = DYNODE__PEER__MESSAGE__INIT;
    message.request = request;
    message.body_case = kind;
    message.ping = body;
    step_append(&script->bytes, step_what(STEP_PEER, who), pack(&message));
}

static Dynode__Peer__Place *place_of(const char *table, const char *key)
{
    Dynode__Peer__Place *place = ARENA_NEW(&arena, Dynode__Peer__Place);
    dynode__peer__place__init(place);
    place->tag = table_tag(table, 1);
    place->key = text(key);
    place->hash = hash64(bytes_str(key), place->tag);
    place->vnode = (uint32_t)(place->hash >> 61); /* of eight */
    return place;
}

static void merge(struct script *script, uint32_t who, uint32_t rule, struct bytes encoded)
{
    Dynode__Peer__Merge *merge = ARENA_NEW(&arena, Dynode__Peer__Merge);
    dynode__peer__merge__init(merge);
    merge->place = place_of(rule == RULE_LWW ? "l" : "s", "k");
    merge->rule = rule;
    merge->n = 3;
    merge->object = to_pb(encoded);
    peer(script, who, 1, DYNODE__PEER__MESSAGE__BODY_MERGE, merge);
}

static void read_answer(struct script *script, uint32_t who, uint64_t id, struct bytes encoded)
{
    Dynode__Peer__ReadAnswer *answer = ARENA_NEW(&arena, Dynode__Peer__ReadAnswer);
    dynode__peer__read_answer__init(answer);
    answer->object = to_pb(encoded);
    answer->digest = object_digest(encoded);
    peer(script, who, id, DYNODE__PEER__MESSAGE__BODY_READ_ANSWER, answer);
}

static void replica_seeds(void)
{
    struct script merges = script("merges", 0);
    for (uint32_t rule = 0; rule < 2; rule++) {
        merge(&merges, 0, rule, encoded_object(3, 1));
        merge(&merges, 1, rule, encoded_object(4, 2));
    }
    Dynode__Peer__Read *read = ARENA_NEW(&arena, Dynode__Peer__Read);
    dynode__peer__read__init(read);
    read->place = place_of("s", "k");
    read->n = 3;
    peer(&merges, 0, 3, DYNODE__PEER__MESSAGE__BODY_READ, read);
    Dynode__Peer__ScanShard *scan = ARENA_NEW(&arena, Dynode__Peer__ScanShard);
    dynode__peer__scan_shard__init(scan);
    scan->tag = table_tag("s", 1);
    scan->limit = 2;
    peer(&merges, 0, 4, DYNODE__PEER__MESSAGE__BODY_SCAN_SHARD, scan);
    client(&merges, 0, REQUEST(9, 0, get_of("s", "k")));
    save("peer", &merges);

    struct script reads = script("read-answers", 0);
    client(&reads, 0, REQUEST(1, 0, get_of("s", "k")));
    read_answer(&reads, 0, STEP_SENT, encoded_object(2, 1));
    read_answer(&reads, 1, STEP_SENT, encoded_object(2, 2));
    client(&reads, 0, REQUEST(2, 0, put_of("s", "k", "v", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT)));
    read_answer(&reads, 0, STEP_SENT, encoded_object(2, 1));
    read_answer(&reads, 1, STEP_SENT, encoded_object(3, 1));
    save("peer", &reads);

    struct script writes = script("write-answers", 0);
    client(&writes, 0, REQUEST(1, 0, put_of("s", "k", "v", "", 0)));
    Dynode__Peer__Merged *merged = ARENA_NEW(&arena, Dynode__Peer__Merged);
    dynode__peer__merged__init(merged);
    peer(&writes, 0, STEP_SENT, DYNODE__PEER__MESSAGE__BODY_MERGED, merged);
    peer(&writes, 1, STEP_SENT, DYNODE__PEER__MESSAGE__BODY_MERGED, merged);
    save("peer", &writes);
}

static void coordinator_seeds(void)
{
    struct script asks = script("coordinate", 0);
    Dynode__Client__Operation *operations[] = {put_of("s", "k", "v", "", 0), get_of("s", "k"),
                                               delete_of("s", "k", "")};
    for (size_t i = 0; i < 3; i++) {
        Dynode__Peer__Coordinate *coordinate = ARENA_NEW(&arena, Dynode__Peer__Coordinate);
        dynode__peer__coordinate__init(coordinate);
        coordinate->operation = operations[i];
        coordinate->deadline_ms = 500;
        peer(&asks, 0, 1 + i, DYNODE__PEER__MESSAGE__BODY_COORDINATE, coordinate);
    }
    save("peer", &asks);

    struct script answers = script("coordinated", 0);
    client(&answers, 0,
           REQUEST(1, 0, put_of("s", "a", "v", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT),
                   put_of("s", "b", "v", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT),
                   put_of("s", "c", "v", "", DYNODE__CLIENT__PRECONDITION__IF_ABSENT)));
    Dynode__Peer__Coordinated *coordinated = ARENA_NEW(&arena, Dynode__Peer__Coordinated);
    dynode__peer__coordinated__init(coordinated);
    coordinated->result = ARENA_NEW(&arena, Dynode__Client__Result);
    dynode__client__result__init(coordinated->result);
    for (uint32_t i = 0; i < 6; i++)
        peer(&answers, i % 2, STEP_SENT + i / 2, DYNODE__PEER__MESSAGE__BODY_COORDINATED, coordinated);
    save("peer", &answers);
}

/* Every step of an exchange, one after the other. */
static void spread_steps(struct script *script, const struct cluster *cluster)
{
    struct record records[16];
    uint64_t *names = ARENA_ARRAY(&arena, uint64_t, 16), *digests = ARENA_ARRAY(&arena, uint64_t, 16);
    struct digest *digest = ARENA_NEW(&arena, struct digest);
    *digest = digest_of(cluster);
    uint32_t count = digest_records(cluster, UINT64_MAX, records);
    CHECK(count <= 16);
    for (uint32_t i = 0; i < count; i++) names[i] = records[i].name, digests[i] = records[i].digest;
    for (uint32_t step = 0; step < 5; step++) {
        Dynode__Peer__Gossip *gossip = ARENA_NEW(&arena, Dynode__Peer__Gossip);
        dynode__peer__gossip__init(gossip);
        gossip->cluster = cluster->id;
        gossip->vnodes = cluster->vnodes;
        gossip->whole = step < 2 ? digest->whole : 0;
        if (step == 1) gossip->n_buckets = DIGEST_BUCKETS, gossip->buckets = digest->buckets;
        if (step == 2) {
            gossip->listed = UINT64_MAX;
            gossip->n_names = gossip->n_digests = count;
            gossip->names = names;
            gossip->digests = digests;
        }
        if (step == 3) gossip->n_wanted = count, gossip->wanted = names;
        if (step >= 3) gossip->records = cluster_to_message(cluster, &arena);
        peer(script, step % 2, 0, DYNODE__PEER__MESSAGE__BODY_GOSSIP, gossip);
    }
}

static void gossip_seeds(void)
{
    struct cluster cluster = {.id = WORLD_CLUSTER_ID, .vnodes = WORLD_VNODES};
    for (uint32_t i = 1; i < 4; i++) {
        struct member member = {.id = world_node_id(i), .incarnation = 5, .weight = 50 * i, .shards = i};
        snprintf(member.name, sizeof(member.name), "m%u", i);
        cluster_merge_member(&cluster, &member);
    }
    struct table table = {.name = "t", .id = 9, .n = 2, .r = 1, .w = 2, .alter_stamp = 4, .alter_node = 0x22};
    const char *why;
    CHECK(cluster_create_table(&cluster, &table, &why) == STATUS_OK);
    struct script state = script("state", 0);
    client(&state, 0, REQUEST(1, 0, create_of("mine", 0)));
    Dynode__Peer__ClusterStateAck *ack = ARENA_NEW(&arena, Dynode__Peer__ClusterStateAck);
    dynode__peer__cluster_state_ack__init(ack);
    peer(&state, 0, 1, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE_ACK, ack);
    peer(&state, 0, 1, DYNODE__PEER__MESSAGE__BODY_CLUSTER_STATE, cluster_to_message(&cluster, &arena));
    Dynode__Peer__Ping *ping = ARENA_NEW(&arena, Dynode__Peer__Ping);
    dynode__peer__ping__init(ping);
    peer(&state, 1, 0, DYNODE__PEER__MESSAGE__BODY_PING, ping);
    Dynode__Peer__Pong *pong = ARENA_NEW(&arena, Dynode__Peer__Pong);
    dynode__peer__pong__init(pong);
    peer(&state, 1, 0, DYNODE__PEER__MESSAGE__BODY_PONG, pong);
    spread_steps(&state, &cluster);
    client(&state, 0, REQUEST(2, 0, put_of("t", "k", "v", "", 0), get_of("t", "k")));
    save("peer", &state);
    cluster_fini(&cluster);
}

/* --- the first bytes of a connection --- */

static void hello_seeds(void)
{
    Dynode__Client__ClientHello from_client = DYNODE__CLIENT__CLIENT_HELLO__INIT;
    from_client.magic = CLIENT_HELLO_MAGIC;
    from_client.version = CLIENT_PROTOCOL_VERSION;
    from_client.client = (char *)(uintptr_t) "fuzz";
    Dynode__Peer__PeerHello from_peer = DYNODE__PEER__PEER_HELLO__INIT;
    from_peer.magic = PEER_HELLO_MAGIC;
    from_peer.version_min = from_peer.version_max = PEER_PROTOCOL_VERSION;
    from_peer.cluster = WORLD_CLUSTER_ID;
    from_peer.vnodes = 64;
    from_peer.node = 0x22;
    from_peer.incarnation = 1;
    struct bytes payloads[] = {pack(&from_client), pack(&from_peer)};
    for (uint8_t i = 0; i < 2; i++) {
        struct buffer seed = {0};
        uint8_t header[FRAME_HEADER_BYTES];
        frame_header(header, payloads[i].size);
        buffer_append(&seed, &i, 1);
        buffer_append(&seed, header, sizeof(header));
        buffer_append(&seed, payloads[i].data, payloads[i].size);
        write_seed("hello", i ? "peer" : "client", buffer_bytes(&seed));
        write_seed("frame", i ? "peer" : "client", buffer_bytes(&seed));
        buffer_fini(&seed);
    }
    static const uint8_t frames[] = {0,   0, 0, 0, 0, 0,   0,   1, 0, 0, 0,   1,
                                     'a', 0, 0, 0, 2, 'b', 'c', 0, 0, 1, 0x2d};
    write_seed("frame", "three", bytes_of(frames, sizeof(frames)));
    static const uint8_t bad[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 'b', 'c'};
    write_seed("frame", "bad", bytes_of(bad, sizeof(bad)));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: fuzz_seeds DIRECTORY\n");
        return 2;
    }
    directory = argv[1];
    arena_init(&arena, 0);
    object_seeds();
    client_seeds("client");
    client_seeds("peer");
    replica_seeds();
    coordinator_seeds();
    gossip_seeds();
    hello_seeds();
    arena_fini(&arena);
    return 0;
}
