#include <stdlib.h>

#include "base/check.h"
#include "client/internal.h"

enum { KEY_BYTES = 1024, VALUE_BYTES = 1048576, CONTEXT_BYTES = 65536, TABLE_NAME_BYTES = 255 };

/* The contract is client.proto; the node judges all of it. Here only what must not leave, or could not be
 * packed. */
static enum dynode_status check(const struct dynode_operation *from, const char **why)
{
    bool keyed = from->kind == DYNODE_GET || from->kind == DYNODE_PUT || from->kind == DYNODE_DELETE;
    bool named = keyed || from->kind == DYNODE_SCAN || from->kind == DYNODE_CREATE_TABLE ||
                 from->kind == DYNODE_ALTER_TABLE || from->kind == DYNODE_DROP_TABLE;
    *why = "an operation of no kind that libdynode knows";
    if ((unsigned)from->kind > DYNODE_ACCEPT_LOSS) return DYNODE_INVALID;
    *why = "no table is named";
    if (named && (from->table == NULL || from->table[0] == '\0')) return DYNODE_INVALID;
    *why = "a table's name has 1 to 63 letters, digits, '-', '_' or '.'";
    if (named && strlen(from->table) > TABLE_NAME_BYTES) return DYNODE_INVALID;
    *why = "the key is empty, but must have 1 to 1024 bytes";
    if (keyed && from->key.size == 0) return DYNODE_INVALID;
    *why = "the key is longer than 1024 bytes";
    if (keyed && from->key.size > KEY_BYTES) return DYNODE_TOO_LARGE;
    *why = "the value is larger than 1048576 bytes";
    if (from->kind == DYNODE_PUT && from->value.size > VALUE_BYTES) return DYNODE_TOO_LARGE;
    *why = "the context is longer than any that was handed out";
    if (keyed && from->context.size > CONTEXT_BYTES) return DYNODE_TOO_LARGE;
    *why = "the cursor is not of a scan";
    if (from->kind == DYNODE_SCAN && from->cursor.size > CONTEXT_BYTES) return DYNODE_INVALID;
    return DYNODE_OK;
}

/* protobuf-c's types are not const, but packing does not write. */
static ProtobufCBinaryData borrow(struct dynode_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
}

enum dynode_status operation_pack(const struct dynode_operation *from, uint64_t token_client,
                                  uint64_t sequence, struct operation *operation, const char **why)
{
    enum dynode_status status = check(from, why);
    if (status != DYNODE_OK) return status;
    char *table = (char *)(uintptr_t)from->table;
    Dynode__Client__Operation packed = DYNODE__CLIENT__OPERATION__INIT;
    Dynode__Client__Get get = DYNODE__CLIENT__GET__INIT;
    Dynode__Client__Put put = DYNODE__CLIENT__PUT__INIT;
    Dynode__Client__Delete delete = DYNODE__CLIENT__DELETE__INIT;
    Dynode__Client__Scan scan = DYNODE__CLIENT__SCAN__INIT;
    Dynode__Client__TableInfo info = DYNODE__CLIENT__TABLE_INFO__INIT;
    Dynode__Client__CreateTable create = DYNODE__CLIENT__CREATE_TABLE__INIT;
    Dynode__Client__AlterTable alter = DYNODE__CLIENT__ALTER_TABLE__INIT;
    Dynode__Client__DropTable drop = DYNODE__CLIENT__DROP_TABLE__INIT;
    Dynode__Client__ListTables list = DYNODE__CLIENT__LIST_TABLES__INIT;
    Dynode__Client__ClusterInfo cluster = DYNODE__CLIENT__CLUSTER_INFO__INIT;
    Dynode__Client__NodeStatus node = DYNODE__CLIENT__NODE_STATUS__INIT;
    Dynode__Client__AcceptLoss loss = DYNODE__CLIENT__ACCEPT_LOSS__INIT;
    Dynode__Client__WriteToken token = DYNODE__CLIENT__WRITE_TOKEN__INIT;
    token.client = token_client;
    token.sequence = sequence;

    switch (from->kind) {
    case DYNODE_GET:
        get.table = table;
        get.key = borrow(from->key);
        get.r = from->replicas;
        get.level = (Dynode__Client__Level)from->level;
        get.n = from->n;
        get.quorum = (Dynode__Client__Quorum)from->quorum;
        get.context_only = from->context_only;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
        packed.get = &get;
        break;
    case DYNODE_PUT:
        put.table = table;
        put.key = borrow(from->key);
        put.value = borrow(from->value);
        put.context = borrow(from->context);
        put.w = from->replicas;
        put.level = (Dynode__Client__Level)from->level;
        put.n = from->n;
        put.quorum = (Dynode__Client__Quorum)from->quorum;
        put.ttl_ms = from->ttl_ms;
        put.for_ever = from->for_ever;
        put.precondition = (Dynode__Client__Precondition)from->precondition;
        put.token = &token;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
        packed.put = &put;
        break;
    case DYNODE_DELETE:
        delete.table = table;
        delete.key = borrow(from->key);
        delete.context = borrow(from->context);
        delete.w = from->replicas;
        delete.level = (Dynode__Client__Level)from->level;
        delete.n = from->n;
        delete.quorum = (Dynode__Client__Quorum)from->quorum;
        delete.precondition = (Dynode__Client__Precondition)from->precondition;
        delete.token = &token;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_DELETE;
        packed.delete_ = &delete;
        break;
    case DYNODE_SCAN:
        scan.table = table;
        scan.cursor = borrow(from->cursor);
        scan.limit = from->limit;
        scan.count_only = from->count_only;
        scan.primary_only = from->primary_only;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_SCAN;
        packed.scan = &scan;
        break;
    case DYNODE_CREATE_TABLE:
        info.name = table;
        info.rule = (Dynode__Client__Rule)from->rule;
        info.n = from->table_n;
        info.r = from->table_r;
        info.w = from->table_w;
        info.ttl_ms = from->ttl_ms;
        create.table = &info;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE;
        packed.create_table = &create;
        break;
    case DYNODE_ALTER_TABLE:
        alter.name = table;
        alter.r = from->table_r;
        alter.w = from->table_w;
        alter.ttl_ms = from->ttl_ms;
        alter.ttl_for_ever = from->for_ever;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE;
        packed.alter_table = &alter;
        break;
    case DYNODE_DROP_TABLE:
        drop.name = table;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE;
        packed.drop_table = &drop;
        break;
    case DYNODE_LIST_TABLES:
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES;
        packed.list_tables = &list;
        break;
    case DYNODE_CLUSTER_INFO:
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO;
        packed.cluster_info = &cluster;
        break;
    case DYNODE_NODE_STATUS:
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_NODE_STATUS;
        packed.node_status = &node;
        break;
    case DYNODE_ACCEPT_LOSS:
        loss.node = from->node;
        packed.kind_case = DYNODE__CLIENT__OPERATION__KIND_ACCEPT_LOSS;
        packed.accept_loss = &loss;
        break;
    }

    bool keyed = from->kind <= DYNODE_DELETE;
    size_t packed_bytes = dynode__client__operation__get_packed_size(&packed);
    size_t table_bytes = keyed ? strlen(from->table) + 1 : 0;
    size_t key_bytes = keyed ? from->key.size : 0;
    uint8_t *memory = malloc(packed_bytes + key_bytes + table_bytes + 1);
    CHECK(memory != NULL);
    dynode__client__operation__pack(&packed, memory);
    operation->packed = bytes_of(memory, packed_bytes);
    operation->key = bytes_of(memory + packed_bytes, key_bytes);
    operation->table = (char *)memory + packed_bytes + key_bytes;
    if (keyed) {
        memcpy(memory + packed_bytes, from->key.data, key_bytes);
        memcpy(memory + packed_bytes + key_bytes, from->table, table_bytes);
    }
    operation->routed = keyed;
    /* A table made twice is TABLE_EXISTS the second time, not a harm, but it would puzzle: treated as a
     * write. */
    operation->write = from->kind == DYNODE_PUT || from->kind == DYNODE_DELETE ||
                       from->kind == DYNODE_CREATE_TABLE || from->kind == DYNODE_ALTER_TABLE ||
                       from->kind == DYNODE_DROP_TABLE;
    bool addressed =
        from->kind == DYNODE_SCAN || from->kind == DYNODE_NODE_STATUS || from->kind == DYNODE_CLUSTER_INFO;
    operation->node = addressed ? from->node : 0;
    return DYNODE_OK;
}

void operation_release(struct operation *operation)
{
    free((void *)(uintptr_t)operation->packed.data);
    operation->packed = bytes_of(NULL, 0);
}
