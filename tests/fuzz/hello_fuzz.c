/* Hellos of both ports: a first byte that chooses the port, then what came over the connection. */
#include "client.pb-c.h"
#include "fuzz.h"
#include "mutate.h"
#include "peer.pb-c.h"
#include "runtime/hello.h"
#include "wire/client_wire.h"

static void read_peer(struct bytes input)
{
    struct hello hello, back, self = hello_of(7, 64, 0x11, 1);
    struct bytes payload;
    size_t bytes;
    if (frame_next(input, FRAME_HELLO_BYTES_MAX, &payload, &bytes) != FRAME_WHOLE) return;
    enum status status = hello_unpack(payload, &hello);
    CHECK(status == STATUS_OK || status == STATUS_INVALID);
    if (status != STATUS_OK) return;
    CHECK(hello.magic == PEER_HELLO_MAGIC);
    CHECK(strnlen(hello.refused, sizeof(hello.refused)) < sizeof(hello.refused));
    char why[HELLO_WHY_BYTES] = "";
    bool agree = hello_agree(&self, &hello, why);
    CHECK(agree == (why[0] == '\0'));
    CHECK(!agree || hello.cluster == self.cluster);
    uint8_t frame[HELLO_FRAME_BYTES_MAX];
    size_t size = hello_pack(&hello, frame);
    CHECK(frame_next(bytes_of(frame, size), FRAME_HELLO_BYTES_MAX, &payload, &bytes) == FRAME_WHOLE);
    CHECK(bytes == size);
    CHECK(hello_unpack(payload, &back) == STATUS_OK);
    CHECK(back.node == hello.node && back.from_shard == hello.from_shard);
    CHECK(strcmp(back.refused, hello.refused) == 0);
}

static void read_client(struct bytes input)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct bytes payload;
    size_t bytes;
    Dynode__Client__ClientHello *hello = NULL;
    if (frame_next(input, FRAME_HELLO_BYTES_MAX, &payload, &bytes) == FRAME_WHOLE) {
        enum status status = client_hello_unpack(payload, &arena, &hello);
        CHECK((status == STATUS_INVALID) == (hello == NULL));
        if (status == STATUS_OK) CHECK(hello->magic == CLIENT_HELLO_MAGIC);
        if (status == STATUS_OK) CHECK(strlen(hello->client) <= CLIENT_NAME_BYTES_MAX);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    if (data[0] & 1)
        read_peer(bytes_of(data + 1, size - 1));
    else
        read_client(bytes_of(data + 1, size - 1));
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    enum { HEAD = 1 + FRAME_HEADER_BYTES };
    if (size < HEAD || prng_chance(&prng, 1, 5)) return LLVMFuzzerMutate(data, size, size_max);
    size = HEAD + mutate_message(data[0] & 1 ? &dynode__peer__peer_hello__descriptor
                                             : &dynode__client__client_hello__descriptor,
                                 data + HEAD, size - HEAD, size_max - HEAD, &prng);
    frame_header(data + 1, size - HEAD);
    return size;
}
