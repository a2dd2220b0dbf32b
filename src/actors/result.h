/* Result: building client.proto's Result in a turn's arena. */
#pragma once

#include "actor/actor.h"
#include "version/object.h"
#include "wire/context.h"

/* A result of @status with its plain sentence (none for OK), or with @why. */
Dynode__Client__Result *result_new(struct arena *arena, enum status status, const char *why);

/* "the disk of @whose ...": what the store says of it that has just refused, STATUS_NO_SPACE. */
const char *result_full_disk(struct arena *arena, const char *whose, const struct store *store);

/* Add the live siblings of @object and its context. Siblings of one write token are one write: shown once. */
void result_add_object(Dynode__Client__Result *result, const struct object *object,
                       const struct context_secret *secret, uint64_t tag, struct bytes key, bool context_only,
                       const struct turn *turn);

/* Add the receipt: those of @nodes whose bit is set in @bits; they stand in for a home if it is in @stood. */
void result_add_replicas(Dynode__Client__Result *result, const uint64_t *nodes, uint32_t bits, uint32_t stood,
                         struct arena *arena);
