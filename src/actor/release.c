#include "actor/release.h"

#include <stdlib.h>

#include "base/check.h"

void release_fini(struct release *release)
{
    free(release->list);
    buffer_fini(&release->bytes);
    *release = (struct release){0};
}

void release_hold(struct release *release, uint64_t turn, uint64_t node, uint32_t shard, size_t offset)
{
    CHECK(release->count == release->first || release->list[release->count - 1].turn <= turn);
    if (release->count == release->capacity) {
        release->capacity = release->capacity == 0 ? 64 : release->capacity * 2;
        release->list = realloc(release->list, release->capacity * sizeof(*release->list));
        CHECK(release->list != NULL);
    }
    release->list[release->count++] = (struct held){
        .turn = turn, .node = node, .shard = shard, .offset = offset, .size = release->bytes.size - offset};
}

/* Forget what was taken: all at once when nothing waits, or when the dead part is the larger one. */
static void compact(struct release *release)
{
    if (release->first == release->count) {
        release->first = release->count = 0;
        buffer_clear(&release->bytes);
        return;
    }
    if (release->first < release->count / 2) return;
    size_t dead = release->list[release->first].offset;
    buffer_consume(&release->bytes, dead);
    for (uint32_t i = release->first; i < release->count; i++) {
        struct held *held = &release->list[i];
        held->offset -= dead;
        release->list[i - release->first] = *held;
    }
    release->count -= release->first;
    release->first = 0;
}

bool release_take(struct release *release, uint64_t turn, struct held *held, struct bytes *field)
{
    if (release->first == release->count || release->list[release->first].turn > turn) {
        compact(release);
        return false;
    }
    *held = release->list[release->first++];
    *field = bytes_of(release->bytes.data + held->offset, held->size);
    return true;
}
