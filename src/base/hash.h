/* Hash: XXH3-64, for placement and for checksums. It is fast and public, so anybody can compute a collision:
 * where a client must not be able to forge, wire/context.h has a keyed one. */
#pragma once

#include "base/bytes.h"

/* XXH3-64 of @data with @seed. A key's place on the ring is hash64(key, table tag). The same on every
 * machine. */
uint64_t hash64(struct bytes data, uint64_t seed);

/* Its name, as clients are told it: two that place keys must mean the same hash. */
#define HASH64_NAME "xxh3-64"
