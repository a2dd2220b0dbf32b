/* Merging is on the path of every write, three times: at the replica that mints, at those that follow, and in
 * the answers to a read. Nearly always one side already is the result (a first write, an overwrite, a
 * repeat), so a merge first finds out whether it is, and copies siblings only when it is not.
 *
 * An `lww` table is a register with a total order on writes. A new stamp exceeds every stamp that its context
 * covers, so the greatest of two objects' siblings is never one that the other object has superseded, and
 * taking the greatest is the same as joining first. It is also a join where stamps can not grow any more (at
 * 2^64-1, which a broken peer can reach): there, asking the contexts as well would let two siblings each
 * supersede the other, and nothing would be left. */
#include "version/object.h"

#include "base/check.h"

bool object_valid(const struct object *object)
{
    if (!vv_valid(&object->context)) return false;
    if (object->count > OBJECT_SIBLINGS_HELD_MAX) return false;
    for (uint32_t i = 0; i < object->count; i++) {
        const struct sibling *sibling = &object->siblings[i];
        if (sibling->dot.clock == 0 || sibling->dot.counter == 0) return false;
        if (sibling->tombstone && sibling->value.size > 0) return false;
        if (i > 0 && dot_compare(sibling[-1].dot, sibling->dot) >= 0) return false;
        if (!vv_covers(&object->context, sibling->dot)) return false;
    }
    return true;
}

/* The order of an `lww` table. */
static bool is_greater(const struct sibling *a, const struct sibling *b)
{
    if (a->stamp != b->stamp) return a->stamp > b->stamp;
    return dot_compare(a->dot, b->dot) > 0;
}

static struct sibling *greatest(const struct object *object)
{
    struct sibling *top = NULL;
    for (uint32_t i = 0; i < object->count; i++)
        if (top == NULL || is_greater(&object->siblings[i], top)) top = &object->siblings[i];
    return top;
}

static struct object with_one(struct vv context, struct sibling *sibling)
{
    return (struct object){.context = context, .siblings = sibling, .count = sibling != NULL};
}

static struct object merge_lww(const struct object *a, const struct object *b, struct vv context)
{
    struct sibling *in_a = greatest(a), *in_b = greatest(b);
    if (in_a == NULL && in_b != NULL && vv_covers(&a->context, in_b->dot)) in_b = NULL;
    if (in_b == NULL && in_a != NULL && vv_covers(&b->context, in_a->dot)) in_a = NULL;
    if (in_a == NULL || in_b == NULL) return with_one(context, in_a != NULL ? in_a : in_b);
    return with_one(context, is_greater(in_b, in_a) ? in_b : in_a);
}

/* One walk over the siblings of both: how many stay, and whether they are just those of @a or of @b. With
 * @out they are written there too. */
static uint32_t join_siblings(const struct object *a, const struct object *b, struct sibling *out, bool *is_a,
                              bool *is_b)
{
    uint32_t i = 0, j = 0, count = 0;
    *is_a = *is_b = true;
    while (i < a->count || j < b->count) {
        int order = i == a->count   ? 1
                    : j == b->count ? -1
                                    : dot_compare(a->siblings[i].dot, b->siblings[j].dot);
        const struct sibling *sibling = order <= 0 ? &a->siblings[i] : &b->siblings[j];
        bool stays = order == 0 || !vv_covers(order < 0 ? &b->context : &a->context, sibling->dot);
        if (order != 0 && stays != (order < 0)) *is_a = false;
        if (order != 0 && stays != (order > 0)) *is_b = false;
        if (stays && out != NULL) out[count] = *sibling;
        count += stays;
        i += order <= 0;
        j += order >= 0;
    }
    return count;
}

struct object object_merge(const struct object *a, const struct object *b, enum table_rule rule,
                           struct arena *arena)
{
    struct object merged = {.context = vv_join(&a->context, &b->context, arena)};
    if (rule == RULE_LWW) return merge_lww(a, b, merged.context);
    bool is_a, is_b;
    merged.count = join_siblings(a, b, NULL, &is_a, &is_b);
    if (is_a || is_b) {
        merged.siblings = is_a ? a->siblings : b->siblings;
        return merged;
    }
    merged.siblings = ARENA_ARRAY(arena, struct sibling, merged.count);
    join_siblings(a, b, merged.siblings, &is_a, &is_b);
    return merged;
}

static uint64_t value_bytes(const struct sibling *siblings, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += siblings[i].value.size;
    return bytes;
}

/* What @context does not cover, and the new one in its place among them. */
static struct object put_beside(const struct object *current, const struct vv *context,
                                const struct sibling *write, struct arena *arena)
{
    struct object result = {.siblings = ARENA_ARRAY(arena, struct sibling, (size_t)current->count + 1)};
    bool placed = false;
    for (uint32_t i = 0; i < current->count; i++) {
        const struct sibling *old = &current->siblings[i];
        if (vv_covers(context, old->dot)) continue;
        if (!placed && dot_compare(write->dot, old->dot) < 0) {
            result.siblings[result.count++] = *write;
            placed = true;
        }
        result.siblings[result.count++] = *old;
    }
    if (!placed) result.siblings[result.count++] = *write;
    return result;
}

enum status object_write(const struct object *current, const struct vv *context, const struct sibling *write,
                         enum table_rule rule, struct arena *arena, struct object *out)
{
    CHECK(write->dot.clock != 0);
    CHECK(!vv_covers(&current->context, write->dot));
    CHECK(!vv_covers(context, write->dot));
    CHECK(!write->tombstone || write->value.size == 0);

    struct object result = put_beside(current, context, write, arena);
    if (rule == RULE_LWW) result = with_one(result.context, greatest(&result));
    uint64_t before = value_bytes(current->siblings, current->count);
    uint64_t after = value_bytes(result.siblings, result.count);
    bool is_above = result.count > OBJECT_SIBLINGS_MAX || after > OBJECT_VALUE_BYTES_MAX;
    if (is_above && (result.count > current->count || after > before)) return STATUS_TOO_MANY_SIBLINGS;

    struct vv seen = vv_join(&current->context, context, arena);
    result.context = vv_with(&seen, write->dot, arena);
    if (result.context.count > VV_ENTRIES_MAX) return STATUS_TOO_LARGE;
    *out = result;
    return STATUS_OK;
}

uint32_t object_live_count(const struct object *object, uint64_t now_ms)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < object->count; i++) count += sibling_live(&object->siblings[i], now_ms);
    return count;
}

uint64_t object_stamp_max(const struct object *object)
{
    uint64_t stamp = 0;
    for (uint32_t i = 0; i < object->count; i++)
        if (object->siblings[i].stamp > stamp) stamp = object->siblings[i].stamp;
    return stamp;
}

const struct sibling *object_find_token(const struct object *object, struct write_token token)
{
    if (token.client == 0) return NULL;
    for (uint32_t i = 0; i < object->count; i++) {
        const struct write_token *held = &object->siblings[i].token;
        if (held->client == token.client && held->sequence == token.sequence) return &object->siblings[i];
    }
    return NULL;
}

bool object_equal(const struct object *a, const struct object *b)
{
    if (a->count != b->count || !vv_equal(&a->context, &b->context)) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (dot_compare(a->siblings[i].dot, b->siblings[i].dot) != 0) return false;
    return true;
}
