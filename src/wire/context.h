/* Context: what a client gets from a read and hands back with its next write, sealed so that it can't be made
 * up.
 *
 * A forged context could cover writes its holder has never seen, which would lose them, acknowledged
 * or not. The seal is SipHash-2-4 (Aumasson and Bernstein, 2012) under the cluster's secret over table tag,
 * key, vector and stamp. */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "version/object.h"

enum { CONTEXT_SECRET_BYTES = 16, CONTEXT_BYTES_MAX = 128 * 1024 };

struct context_secret {
    uint8_t key[CONTEXT_SECRET_BYTES];
};

/* From the contents of the cluster's secret file; without one (size 0) from the cluster's id, which guards
 * against mistakes only. */
struct context_secret context_secret_derive(struct bytes contents, uint64_t cluster);

/* The context of @object for clients, in @arena. Empty for an object that was never written. */
struct bytes context_seal(const struct context_secret *secret, uint64_t tag, struct bytes key,
                          const struct object *object, struct arena *arena);

/* Read a sealed context. Empty bytes give the empty vector and stamp 0.
 * STATUS_INVALID  It does not decode, or its seal is not of this table and key. */
enum status context_unseal(const struct context_secret *secret, uint64_t tag, struct bytes key,
                           struct bytes sealed, struct arena *arena, struct vv *context, uint64_t *stamp);
