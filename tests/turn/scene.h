/* Scene: node A of five on the bench, and a key of which it is a home, or is none. */
#pragma once

#include "one_shard.h"

/* A key, and who is what to it. */
struct scene {
    struct one_shard one;
    char key[16];
    uint64_t list[5];   /* the preference list of its vnode */
    uint64_t homes[2];  /* of the three, those that are not A; or the first two */
    uint64_t others[2]; /* that are no homes: not A */
};

/* A key of which A is a home, if @home. */
void scene_begin(struct scene *scene, bool home, struct one_shard_options options);

/* A put of the key, not asked yet; and asked, by a client. */
Dynode__Client__Operation *scene_put(struct scene *scene, const char *value, Dynode__Client__Quorum quorum);
void scene_ask_put(struct scene *scene, const char *value, Dynode__Client__Quorum quorum);

/* What A has sent to @node. NULL: nothing of that kind. */
const Dynode__Peer__Message *scene_merge_to(const struct scene *scene, uint64_t node);
const Dynode__Peer__Message *scene_read_to(const struct scene *scene, uint64_t node);

/* @from answers a request of @kind, or the merge that A sent to it. */
void scene_answer(struct scene *scene, uint64_t from, uint64_t request, Dynode__Peer__Message__BodyCase kind,
                  enum status status);
void scene_merged(struct scene *scene, uint64_t from, enum status status);

struct counters *scene_counters(struct scene *scene);
