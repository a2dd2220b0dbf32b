/* A get's quorum as a value: who was asked, who answered what, and what R of them agree on, merged. Of each
 * home it knows one answer, its own or that of a node which stands in for it.
 *
 * Large objects come from one home, and only their digest from the others; when digests differ the objects
 * that are missing are asked for (GET_NEED_OBJECTS). Answers outlive a turn, so the core keeps copies; its
 * buffers are reused by the next get (get_core_init), and freed by get_core_fini. */
#pragma once

#include "actors/put_core.h"
#include "base/bytes.h"
#include "base/status.h"
#include "ring/cluster.h"
#include "version/object.h"

struct get_answer {
    bool asked, answered, failed;
    bool damaged;    /* it failed because its copy is unreadable: what R others agree on replaces it */
    bool whole;      /* the object is here, or there is none (digest 0) */
    uint64_t digest; /* 0: the home holds nothing */
    struct buffer object;
};

struct get_core {
    uint32_t n, r;
    uint32_t fetching; /* homes that were asked for their object after its digest, as bits */
    struct get_answer answers[TABLE_N_MAX];
};

/* In place; the first time on zeroed memory. */
void get_core_init(struct get_core *core, uint32_t n, uint32_t r);
void get_core_fini(struct get_core *core);

/* The next home to ask: not asked, not failed, the least number. False if there is none. Marks it asked. */
bool get_core_ask(struct get_core *core, uint32_t *home);

/* Home @home, which was not asked and has not failed, is asked. */
void get_core_ask_home(struct get_core *core, uint32_t home);

/* The first home that failed, but for one that is unreadable. False: there is none. */
bool get_core_lost(const struct get_core *core, uint32_t *home);

/* It is asked again, by way of a node that stands in for it. */
void get_core_stand(struct get_core *core, uint32_t home);

/* How many more must be asked so that r can answer. */
uint32_t get_core_wanting(const struct get_core *core);

/* Home @home answered with STATUS_OK (an object, or only its digest if @object is empty) or STATUS_NOT_FOUND
 * (it counts); anything else is a failure. A second answer only adds an object that was missing. */
void get_core_add(struct get_core *core, uint32_t home, enum status status, uint64_t digest,
                  struct bytes object);
void get_core_fail(struct get_core *core, uint32_t home);

enum get_result {
    GET_PENDING,
    GET_ENOUGH,       /* of r homes the object is known: get_core_merge */
    GET_NEED_OBJECTS, /* r answered, but of some only the digest: ask those of get_core_fetch for the object
                       */
    GET_FAILED,       /* r can't be reached any more */
};
enum get_result get_core_result(const struct get_core *core);

/* The homes that answered with a digest other than that of the first whole answer, as bits. */
uint32_t get_core_missing(const struct get_core *core);

/* Those of them that were not asked for their object yet. Marks them asked. */
uint32_t get_core_fetch(struct get_core *core);

uint32_t get_core_got(const struct get_core *core);

/* The homes that answered or may yet. */
uint32_t get_core_left(const struct get_core *core);

/* Merge what was answered, in @arena. *stale: the homes, as bits, that answered with something else than the
 * result, or hold it unreadably.
 * STATUS_NOT_FOUND  No home holds anything.
 * STATUS_CORRUPT  An answer does not decode (its home is marked failed: look at the result again). */
enum status get_core_merge(struct get_core *core, enum table_rule rule, struct arena *arena,
                           struct object *out, struct bytes *encoded, uint32_t *stale);
