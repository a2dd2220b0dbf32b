/* Mutate: changes of an input that keep most of its structure, so that they get past the decoder: whole
 * fields of a protobuf message (a lost byte in a nested one would break every length around it), and whole
 * steps of a script. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "base/prng.h"

/* Change the packed message of @type in place, once. The new size. What does not parse is changed as bytes.
 */
size_t mutate_message(const ProtobufCMessageDescriptor *type, uint8_t *data, size_t size, size_t size_max,
                      struct prng *prng);

/* A script: steps of one byte of what, two of length (big-endian), and so many bytes. */
enum { STEP_HEADER_BYTES = 3, STEP_BYTES_MAX = 65535 };

struct step {
    uint8_t what;
    struct bytes bytes;
};

/* Take the next step off *rest. False at the end; a last step that is cut short has what is there. */
bool step_next(struct bytes *rest, struct step *step);
void step_append(struct buffer *script, uint8_t what, struct bytes bytes);

/* The message type of a step's bytes; NULL for plain bytes. */
typedef const ProtobufCMessageDescriptor *step_type(uint8_t what);

/* Change one step of the script, or drop, repeat or move it. @first bytes at the start are no step. */
size_t mutate_script(step_type *type_of, size_t first, uint8_t *data, size_t size, size_t size_max,
                     unsigned seed);
