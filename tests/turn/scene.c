#include "scene.h"

#include <stdio.h>

void scene_begin(struct scene *scene, bool home, struct one_shard_options options)
{
    options.nodes = 5;
    one_shard_begin(&scene->one, options);
    const struct ring *ring = shard_turn_context(scene->one.shard)->ring;
    for (int i = 0;; i++) {
        snprintf(scene->key, sizeof(scene->key), "key%d", i);
        uint32_t vnode = one_shard_place(&scene->one, "t", scene->key)->vnode;
        memcpy(scene->list, ring_preference_list(ring, vnode), sizeof(scene->list));
        if (ring_is_home(ring, vnode, 3, NODE_A) == home) break;
    }
    uint32_t homes = 0, others = 0;
    for (uint32_t i = 0; i < 5; i++) {
        if (scene->list[i] == NODE_A) continue;
        if (i < 3 && homes < 2) scene->homes[homes++] = scene->list[i];
        if (i >= 3) scene->others[others++] = scene->list[i];
    }
}

Dynode__Client__Operation *scene_put(struct scene *scene, const char *value, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation =
        one_shard_put(&scene->one, "t", scene->key, bytes_str(value), (struct bytes){0});
    operation->put->quorum = quorum;
    return operation;
}

void scene_ask_put(struct scene *scene, const char *value, Dynode__Client__Quorum quorum)
{
    Dynode__Client__Operation *operation = scene_put(scene, value, quorum);
    one_shard_ask(&scene->one, 1, 1, 1000, &operation, 1);
}

const Dynode__Peer__Message *scene_merge_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_MERGE, 0);
}

const Dynode__Peer__Message *scene_read_to(const struct scene *scene, uint64_t node)
{
    return one_shard_find(&scene->one, node, DYNODE__PEER__MESSAGE__BODY_READ, 0);
}

void scene_answer(struct scene *scene, uint64_t from, uint64_t request, Dynode__Peer__Message__BodyCase kind,
                  enum status status)
{
    Dynode__Peer__Merged merged = DYNODE__PEER__MERGED__INIT;
    merged.status = status;
    one_shard_receive(&scene->one, from, request, kind, &merged);
}

void scene_merged(struct scene *scene, uint64_t from, enum status status)
{
    const Dynode__Peer__Message *merge = scene_merge_to(scene, from);
    assert_non_null(merge);
    scene_answer(scene, from, merge->request, DYNODE__PEER__MESSAGE__BODY_MERGED, status);
}

struct counters *scene_counters(struct scene *scene)
{
    return shard_counters(scene->one.shard);
}
