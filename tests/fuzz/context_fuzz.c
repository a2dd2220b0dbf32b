/* Sealed contexts: nothing that we did not seal is taken for one, and what we seal comes back, for its table
 * and key alone. The input is a SealedContext; if its vector is valid it is sealed anew. */
#include "fuzz.h"
#include "mutate.h"
#include "object.pb-c.h"
#include "wire/context.h"
#include "wire/unpack.h"

static const struct context_secret secret = {.key = "sixteen bytes..."};
static const struct context_secret other_secret = {.key = "sixteen others.."};

static void seal_and_unseal(const Dynode__Object__SealedContext *message, struct arena *arena)
{
    if (message->n_clocks != message->n_counters || message->n_clocks > VV_ENTRIES_MAX) return;
    struct object object = {.context = {.entries = ARENA_ARRAY(arena, struct dot, message->n_clocks),
                                        .count = (uint32_t)message->n_clocks}};
    for (uint32_t i = 0; i < object.context.count; i++)
        object.context.entries[i] = (struct dot){message->clocks[i], message->counters[i]};
    if (!vv_valid(&object.context) || object.context.count == 0) return;
    struct sibling sibling = {.dot = object.context.entries[0], .stamp = message->stamp};
    object.siblings = &sibling;
    object.count = 1;
    struct bytes key = bytes_of("key", 3), sealed = context_seal(&secret, 9, key, &object, arena);
    struct vv vv;
    uint64_t stamp;
    CHECK(context_unseal(&secret, 9, key, sealed, arena, &vv, &stamp) == STATUS_OK);
    CHECK(vv_equal(&vv, &object.context));
    CHECK(stamp == message->stamp);
    CHECK(context_unseal(&secret, 8, key, sealed, arena, &vv, &stamp) == STATUS_INVALID);
    CHECK(context_unseal(&secret, 9, bytes_of("kez", 3), sealed, arena, &vv, &stamp) == STATUS_INVALID);
    CHECK(context_unseal(&other_secret, 9, key, sealed, arena, &vv, &stamp) == STATUS_INVALID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct vv vv;
    uint64_t stamp;
    struct bytes input = bytes_of(data, size);
    /* 64 bits of SipHash under a key that no fuzzer guesses. */
    enum status status = context_unseal(&secret, 1234567, bytes_of("k", 1), input, &arena, &vv, &stamp);
    CHECK(status == (size == 0 ? STATUS_OK : STATUS_INVALID));
    ProtobufCMessage *message;
    if (unpack(&dynode__object__sealed_context__descriptor, input, &arena, &message) == STATUS_OK)
        seal_and_unseal((Dynode__Object__SealedContext *)message, &arena);
    arena_fini(&arena);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    return mutate_message(&dynode__object__sealed_context__descriptor, data, size, size_max, &prng);
}
