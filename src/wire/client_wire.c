#include "wire/client_wire.h"

#include "ring/cluster.h"
#include "wire/context.h"
#include "wire/frame.h"
#include "wire/unpack.h"

/* An actor's status goes to a client as it is. */
static_assert((int)STATUS_NOT_FOUND == DYNODE__CLIENT__STATUS__NOT_FOUND, "status");
static_assert((int)STATUS_CONFLICT == DYNODE__CLIENT__STATUS__CONFLICT, "status");
static_assert((int)STATUS_UNAVAILABLE == DYNODE__CLIENT__STATUS__UNAVAILABLE, "status");
static_assert((int)STATUS_TIMEOUT == DYNODE__CLIENT__STATUS__TIMEOUT, "status");
static_assert((int)STATUS_OVERLOADED == DYNODE__CLIENT__STATUS__OVERLOADED, "status");
static_assert((int)STATUS_INVALID == DYNODE__CLIENT__STATUS__INVALID, "status");
static_assert((int)STATUS_TOO_LARGE == DYNODE__CLIENT__STATUS__TOO_LARGE, "status");
static_assert((int)STATUS_NO_SUCH_TABLE == DYNODE__CLIENT__STATUS__NO_SUCH_TABLE, "status");
static_assert((int)STATUS_TABLE_EXISTS == DYNODE__CLIENT__STATUS__TABLE_EXISTS, "status");
static_assert((int)STATUS_WRONG_VERSION == DYNODE__CLIENT__STATUS__WRONG_VERSION, "status");
static_assert((int)STATUS_TOO_MANY_SIBLINGS == DYNODE__CLIENT__STATUS__TOO_MANY_SIBLINGS, "status");
static_assert((int)STATUS_STOPPING == DYNODE__CLIENT__STATUS__STOPPING, "status");
static_assert((int)STATUS_INTERNAL == DYNODE__CLIENT__STATUS__INTERNAL, "status");

static const uint64_t ttl_ms_max = 100ULL * 366 * 24 * 3600 * 1000;

enum status client_hello_unpack(struct bytes payload, struct arena *arena, Dynode__Client__ClientHello **out)
{
    ProtobufCMessage *message;
    if (unpack(&dynode__client__client_hello__descriptor, payload, arena, &message) != STATUS_OK)
        return STATUS_INVALID;
    Dynode__Client__ClientHello *hello = (Dynode__Client__ClientHello *)message;
    if (hello->magic != CLIENT_HELLO_MAGIC) return STATUS_INVALID;
    *out = hello;
    if (hello->version != CLIENT_PROTOCOL_VERSION) return STATUS_WRONG_VERSION;
    return strlen(hello->client) <= CLIENT_NAME_BYTES_MAX ? STATUS_OK : STATUS_TOO_LARGE;
}

enum status request_unpack(struct bytes payload, struct arena *arena, Dynode__Client__Request **out,
                           const char **why)
{
    ProtobufCMessage *message;
    enum status status = unpack(&dynode__client__request__descriptor, payload, arena, &message);
    if (status != STATUS_OK) {
        *why = status == STATUS_NO_MEMORY ? "a request of too many parts" : "a request that does not decode";
        return status;
    }
    Dynode__Client__Request *request = (Dynode__Client__Request *)message;
    *why = "a request without an id";
    if (request->id == 0) return STATUS_INVALID;
    *why = "a request of no operations, or of more than 1024";
    if (request->n_operations < 1 || request->n_operations > OPERATIONS_MAX) return STATUS_INVALID;
    for (size_t i = 0; i < request->n_operations; i++) {
        Dynode__Client__Operation *operation = request->operations[i];
        unpack_strip(&operation->base);
        if (operation->kind_case != DYNODE__CLIENT__OPERATION__KIND__NOT_SET)
            unpack_strip(&operation->get->base);
    }
    *out = request;
    return STATUS_OK;
}

#define REQUIRE(condition, code, sentence)                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            *why = (sentence);                                                                               \
            return (code);                                                                                   \
        }                                                                                                    \
    } while (0)

static enum status check_key(const char *table, ProtobufCBinaryData key, const char **why)
{
    REQUIRE(table[0] != '\0', STATUS_INVALID, "no table is named");
    REQUIRE(key.len >= 1, STATUS_INVALID, "the key is empty, but must have 1 to 1024 bytes");
    REQUIRE(key.len <= KEY_BYTES_MAX, STATUS_TOO_LARGE, "the key is longer than 1024 bytes");
    return STATUS_OK;
}

static enum status check_quorum(uint32_t number, Dynode__Client__Level level, uint32_t n, const char **why)
{
    REQUIRE((unsigned)level <= DYNODE__CLIENT__LEVEL__ALL, STATUS_INVALID,
            "the level must be TABLE, ONE, QUORUM or ALL");
    REQUIRE(number == 0 || level == DYNODE__CLIENT__LEVEL__TABLE, STATUS_INVALID,
            "give either a number of replicas or a named level, not both");
    REQUIRE(number <= TABLE_N_MAX && n <= TABLE_N_MAX, STATUS_INVALID, "r, w and n are at most 15");
    return STATUS_OK;
}

static enum status check_sloppy(Dynode__Client__Quorum quorum, const char **why)
{
    REQUIRE((unsigned)quorum <= DYNODE__CLIENT__QUORUM__STRICT, STATUS_INVALID,
            "the quorum must be DEFAULT, SLOPPY or STRICT");
    return STATUS_OK;
}

static enum status check_write(ProtobufCBinaryData context, Dynode__Client__Precondition precondition,
                               const Dynode__Client__WriteToken *token, const char **why)
{
    REQUIRE(context.len <= CONTEXT_BYTES_MAX, STATUS_TOO_LARGE,
            "the context is longer than any that was handed out");
    REQUIRE((unsigned)precondition <= DYNODE__CLIENT__PRECONDITION__IF_CONTEXT, STATUS_INVALID,
            "the precondition must be NONE, IF_ABSENT or IF_CONTEXT");
    REQUIRE(precondition != DYNODE__CLIENT__PRECONDITION__IF_CONTEXT || context.len > 0, STATUS_INVALID,
            "IF_CONTEXT needs the context of a read");
    REQUIRE(token == NULL || token->client != 0, STATUS_INVALID, "the write token's client is 0");
    return STATUS_OK;
}

static enum status check_put(const Dynode__Client__Put *put, const char **why)
{
    enum status status = check_key(put->table, put->key, why);
    if (status == STATUS_OK) status = check_quorum(put->w, put->level, put->n, why);
    if (status == STATUS_OK) status = check_sloppy(put->quorum, why);
    if (status == STATUS_OK) status = check_write(put->context, put->precondition, put->token, why);
    if (status != STATUS_OK) return status;
    REQUIRE(put->value.len <= VALUE_BYTES_MAX, STATUS_TOO_LARGE, "the value is larger than 1048576 bytes");
    REQUIRE(put->ttl_ms <= ttl_ms_max, STATUS_INVALID, "the time to live is longer than 100 years");
    REQUIRE(put->ttl_ms == 0 || !put->for_ever, STATUS_INVALID,
            "give either a time to live or for_ever, not both");
    return STATUS_OK;
}

enum status operation_check(const Dynode__Client__Operation *operation, const char **why)
{
    enum status status;
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET: {
        const Dynode__Client__Get *get = operation->get;
        status = check_key(get->table, get->key, why);
        if (status == STATUS_OK) status = check_quorum(get->r, get->level, get->n, why);
        return status != STATUS_OK ? status : check_sloppy(get->quorum, why);
    }
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        return check_put(operation->put, why);
    case DYNODE__CLIENT__OPERATION__KIND_DELETE: {
        const Dynode__Client__Delete *delete = operation->delete_;
        status = check_key(delete->table, delete->key, why);
        if (status == STATUS_OK) status = check_quorum(delete->w, delete->level, delete->n, why);
        if (status == STATUS_OK) status = check_sloppy(delete->quorum, why);
        return status != STATUS_OK ? status
                                   : check_write(delete->context, delete->precondition, delete->token, why);
    }
    case DYNODE__CLIENT__OPERATION__KIND_SCAN:
        REQUIRE(operation->scan->table[0] != '\0', STATUS_INVALID, "no table is named");
        REQUIRE(operation->scan->limit <= SCAN_LIMIT_MAX, STATUS_INVALID, "a page has at most 10000 keys");
        REQUIRE(operation->scan->cursor.len <= SCAN_CURSOR_BYTES_MAX, STATUS_INVALID,
                "the cursor is not of a scan");
        return STATUS_OK;
    case DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE: {
        const Dynode__Client__TableInfo *table = operation->create_table->table;
        REQUIRE(table != NULL, STATUS_INVALID, "no table is described");
        REQUIRE(name_valid(bytes_str(table->name)), STATUS_INVALID,
                "a table's name has 1 to 63 letters, digits, '-', '_' or '.'");
        REQUIRE((unsigned)table->rule <= DYNODE__CLIENT__RULE__LWW, STATUS_INVALID,
                "the rule must be SIBLINGS or LWW");
        REQUIRE(table->ttl_ms <= ttl_ms_max, STATUS_INVALID, "the time to live is longer than 100 years");
        return STATUS_OK;
    }
    case DYNODE__CLIENT__OPERATION__KIND_ALTER_TABLE: {
        const Dynode__Client__AlterTable *alter = operation->alter_table;
        REQUIRE(alter->ttl_ms <= ttl_ms_max, STATUS_INVALID, "the time to live is longer than 100 years");
        REQUIRE(alter->r != 0 || alter->w != 0 || alter->ttl_ms != 0 || alter->ttl_for_ever, STATUS_INVALID,
                "nothing is to be altered: give r, w or a time to live");
        return STATUS_OK;
    }
    case DYNODE__CLIENT__OPERATION__KIND_ACCEPT_LOSS:
    case DYNODE__CLIENT__OPERATION__KIND_DROP_TABLE:
    case DYNODE__CLIENT__OPERATION__KIND_LIST_TABLES:
    case DYNODE__CLIENT__OPERATION__KIND_CLUSTER_INFO:
    case DYNODE__CLIENT__OPERATION__KIND_NODE_STATUS:
        return STATUS_OK;
    default:
        break;
    }
    *why = "an operation of no kind that this node knows";
    return STATUS_INVALID;
}
