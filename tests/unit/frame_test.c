/* Frames: lengths of 0 and 1, about each bound, and about where a signed or 32-bit number ends, each against
 * each bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/frame.h"

static void test_lengths(void **state)
{
    (void)state;
    static const size_t bounds[] = {FRAME_HELLO_BYTES_MAX, FRAME_CLIENT_BYTES_MAX, FRAME_PEER_BYTES_MAX};
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        size_t bound = bounds[i];
        const uint32_t lengths[] = {
            0,         1,        (uint32_t)bound - 1, (uint32_t)bound, (uint32_t)bound + 1,
            INT32_MAX, 1U << 31, (1U << 31) + 1,      UINT32_MAX};
        for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
            uint8_t header[FRAME_HEADER_BYTES];
            struct bytes payload;
            size_t bytes;
            frame_header(header, lengths[l]);
            enum frame_state state_of = frame_next(bytes_of(header, sizeof(header)), bound, &payload, &bytes);
            if (lengths[l] == 0 || lengths[l] > bound) {
                assert_int_equal(state_of, FRAME_BAD);
                assert_int_equal(bytes, lengths[l]);
            } else {
                assert_int_equal(state_of, FRAME_PARTIAL);
                assert_int_equal(bytes, FRAME_HEADER_BYTES + (size_t)lengths[l]);
            }
        }
    }
}

/* L claimed and L - 1 there is not a frame, in every cut; L there is one, whatever follows. */
static void test_cut_at_every_offset(void **state)
{
    (void)state;
    uint8_t stream[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0xff};
    for (size_t size = 0; size <= sizeof(stream); size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, stream, size);
        struct bytes payload;
        size_t bytes = 99;
        enum frame_state state_of = frame_next(bytes_of(copy, size), 5, &payload, &bytes);
        assert_int_equal(state_of, size < 9 ? FRAME_PARTIAL : FRAME_WHOLE);
        assert_int_equal(bytes, size < FRAME_HEADER_BYTES ? 0 : 9);
        if (state_of == FRAME_WHOLE) assert_true(bytes_equal(payload, bytes_str("hello")));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_cut_at_every_offset)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
