/* Requests: what request_unpack and operation_check let through keeps the rules of client.proto, in bounded
 * memory. */
#include "fuzz.h"
#include "mutate.h"
#include "wire/client_wire.h"
#include "wire/unpack.h"

static void check_key(ProtobufCBinaryData key, const char *table)
{
    CHECK(key.len >= 1 && key.len <= KEY_BYTES_MAX);
    CHECK(table[0] != '\0');
}

static void check_accepted(const Dynode__Client__Operation *operation)
{
    switch (operation->kind_case) {
    case DYNODE__CLIENT__OPERATION__KIND_GET:
        check_key(operation->get->key, operation->get->table);
        CHECK(operation->get->r <= 15 && operation->get->n <= 15);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_PUT:
        check_key(operation->put->key, operation->put->table);
        CHECK(operation->put->value.len <= VALUE_BYTES_MAX);
        CHECK(operation->put->w <= 15 && operation->put->n <= 15);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_DELETE:
        check_key(operation->delete_->key, operation->delete_->table);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_SCAN:
        CHECK(operation->scan->limit <= SCAN_LIMIT_MAX);
        break;
    case DYNODE__CLIENT__OPERATION__KIND_CREATE_TABLE:
        CHECK(operation->create_table->table != NULL);
        CHECK(strlen(operation->create_table->table->name) <= 63);
        break;
    default:
        CHECK(operation->kind_case != DYNODE__CLIENT__OPERATION__KIND__NOT_SET);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 0);
    Dynode__Client__Request *request = NULL;
    const char *why = NULL;
    enum status status = request_unpack(bytes_of(data, size), &arena, &request, &why);
    CHECK(arena.used_bytes <= UNPACK_FACTOR * size + UNPACK_SLACK_BYTES);
    if (status == STATUS_OK) {
        CHECK(request->id != 0);
        CHECK(request->n_operations >= 1 && request->n_operations <= OPERATIONS_MAX);
        for (size_t i = 0; i < request->n_operations; i++) {
            why = NULL;
            if (operation_check(request->operations[i], &why) == STATUS_OK)
                check_accepted(request->operations[i]);
            else
                CHECK(why != NULL);
        }
    } else {
        CHECK(status == STATUS_INVALID || status == STATUS_NO_MEMORY);
        CHECK(why != NULL);
    }
    arena_fini(&arena);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    return mutate_message(&dynode__client__request__descriptor, data, size, size_max, &prng);
}
