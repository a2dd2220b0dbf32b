/* Frames: a stream that arrives in chunks of any size gives the frames that it gives when it is there at
 * once. The first eight bytes seed the cuts; a frame is at most 300 bytes here, so that small inputs reach
 * the bound. */
#include "base/prng.h"
#include "fuzz.h"
#include "wire/frame.h"

enum { PAYLOAD_MAX = 300 };

/* The frames at the start of @stream, up to the first that is not whole; where that was. */
static size_t read_frames(struct bytes stream, uint64_t *digest, enum frame_state *end)
{
    size_t at = 0;
    for (;;) {
        struct bytes payload = {0};
        size_t bytes = 0;
        *end = frame_next(bytes_of(stream.data + at, stream.size - at), PAYLOAD_MAX, &payload, &bytes);
        if (*end == FRAME_PARTIAL) CHECK(bytes == 0 || bytes > stream.size - at);
        if (*end == FRAME_BAD) CHECK(bytes == 0 || bytes > PAYLOAD_MAX);
        if (*end != FRAME_WHOLE) return at;
        CHECK(payload.size >= 1);
        CHECK(payload.size <= PAYLOAD_MAX);
        CHECK(bytes == FRAME_HEADER_BYTES + payload.size);
        CHECK(payload.data == stream.data + at + FRAME_HEADER_BYTES);
        for (size_t i = 0; i < payload.size; i++) *digest = *digest * 31 + payload.data[i];
        *digest = *digest * 31 + payload.size;
        at += bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) return 0;
    struct prng prng;
    prng_init(&prng, get_be64(data));
    struct bytes stream = bytes_of(data + 8, size - 8);
    uint64_t whole_digest = 0, digest = 0;
    enum frame_state whole_end, end = FRAME_PARTIAL;
    size_t whole = read_frames(stream, &whole_digest, &whole_end), consumed = 0;
    struct buffer buffer = {0};
    for (size_t at = 0; at < stream.size && end != FRAME_BAD;) {
        size_t chunk = 1 + prng_below(&prng, prng_chance(&prng, 1, 2) ? 7 : 700);
        if (chunk > stream.size - at) chunk = stream.size - at;
        buffer_append(&buffer, stream.data + at, chunk);
        at += chunk;
        size_t used = read_frames(buffer_bytes(&buffer), &digest, &end);
        buffer_consume(&buffer, used);
        consumed += used;
    }
    CHECK(consumed == whole);
    CHECK(digest == whole_digest);
    CHECK(end == whole_end);
    buffer_fini(&buffer);
    return 0;
}
