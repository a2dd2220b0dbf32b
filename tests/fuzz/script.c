/* Reading and writing scripts: apart from mutate.c, which needs a fuzzer to link. */
#include "base/check.h"
#include "mutate.h"

bool step_next(struct bytes *rest, struct step *step)
{
    if (rest->size < STEP_HEADER_BYTES) return false;
    size_t size = get_be16(rest->data + 1), there = rest->size - STEP_HEADER_BYTES;
    if (size > there) size = there;
    *step = (struct step){.what = rest->data[0], .bytes = bytes_of(rest->data + STEP_HEADER_BYTES, size)};
    *rest = bytes_of(rest->data + STEP_HEADER_BYTES + size, there - size);
    return true;
}

void step_append(struct buffer *script, uint8_t what, struct bytes bytes)
{
    CHECK(bytes.size <= STEP_BYTES_MAX);
    uint8_t *header = buffer_reserve(script, STEP_HEADER_BYTES);
    header[0] = what;
    put_be16(header + 1, (uint16_t)bytes.size);
    script->size += STEP_HEADER_BYTES;
    buffer_append(script, bytes.data, bytes.size);
}
