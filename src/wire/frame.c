#include "wire/frame.h"

enum frame_state frame_next(struct bytes input, size_t payload_bytes_max, struct bytes *payload,
                            size_t *bytes)
{
    *bytes = 0;
    if (input.size < FRAME_HEADER_BYTES) return FRAME_PARTIAL;
    size_t length = get_be32(input.data);
    if (length == 0 || length > payload_bytes_max) {
        *bytes = length;
        return FRAME_BAD;
    }
    *bytes = FRAME_HEADER_BYTES + length;
    if (input.size < *bytes) return FRAME_PARTIAL;
    *payload = bytes_of(input.data + FRAME_HEADER_BYTES, length);
    return FRAME_WHOLE;
}
