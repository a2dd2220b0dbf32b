/* What a fuzz target is: libFuzzer's functions, which libFuzzer or driver.c calls.
 *
 * A target takes any bytes and returns; what must not happen is a failed CHECK, a sanitizer's report, or no
 * return. */
#pragma once

#include "base/bytes.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional. Change the input in place; the new size, at most @size_max. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

/* The ordinary mutations of bytes: libFuzzer's or driver.c's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
