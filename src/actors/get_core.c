#include "actors/get_core.h"

#include "base/check.h"
#include "wire/object_wire.h"

void get_core_init(struct get_core *core, uint32_t n, uint32_t r)
{
    CHECK(r >= 1);
    CHECK(r <= n);
    CHECK(n <= TABLE_N_MAX);
    core->n = n;
    core->r = r;
    core->fetching = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct buffer kept = core->answers[i].object;
        buffer_clear(&kept);
        core->answers[i] = (struct get_answer){.object = kept};
    }
}

void get_core_fini(struct get_core *core)
{
    for (uint32_t i = 0; i < TABLE_N_MAX; i++) buffer_fini(&core->answers[i].object);
}

bool get_core_ask(struct get_core *core, uint32_t *home)
{
    for (uint32_t i = 0; i < core->n; i++) {
        struct get_answer *answer = &core->answers[i];
        if (answer->asked || answer->failed) continue;
        answer->asked = true;
        *home = i;
        return true;
    }
    return false;
}

void get_core_ask_home(struct get_core *core, uint32_t home)
{
    CHECK(home < core->n);
    CHECK(!core->answers[home].asked);
    CHECK(!core->answers[home].failed);
    core->answers[home].asked = true;
}

bool get_core_lost(const struct get_core *core, uint32_t *home)
{
    for (uint32_t i = 0; i < core->n; i++) {
        if (!core->answers[i].failed || core->answers[i].damaged) continue;
        *home = i;
        return true;
    }
    return false;
}

void get_core_stand(struct get_core *core, uint32_t home)
{
    struct get_answer *answer = &core->answers[home];
    CHECK(answer->failed);
    struct buffer kept = answer->object;
    buffer_clear(&kept);
    *answer = (struct get_answer){.asked = true, .object = kept};
    core->fetching &= ~(1U << home);
}

static uint32_t count(const struct get_core *core, bool (*test)(const struct get_answer *))
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < core->n; i++) total += test(&core->answers[i]);
    return total;
}

static bool under_way(const struct get_answer *answer)
{
    return answer->asked && !answer->failed;
}

static bool has_failed(const struct get_answer *answer)
{
    return answer->failed;
}

static bool has_answered(const struct get_answer *answer)
{
    return answer->answered;
}

uint32_t get_core_wanting(const struct get_core *core)
{
    uint32_t asked = count(core, under_way);
    return asked < core->r ? core->r - asked : 0;
}

uint32_t get_core_got(const struct get_core *core)
{
    return count(core, has_answered);
}

uint32_t get_core_left(const struct get_core *core)
{
    return core->n - count(core, has_failed);
}

void get_core_add(struct get_core *core, uint32_t home, enum status status, uint64_t digest,
                  struct bytes object)
{
    CHECK(home < core->n);
    struct get_answer *answer = &core->answers[home];
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        answer->damaged = status == STATUS_CORRUPT;
        get_core_fail(core, home);
        return;
    }
    if (answer->answered && answer->whole) return;
    answer->asked = true;
    answer->answered = true;
    answer->failed = false;
    answer->digest = status == STATUS_OK ? digest : 0;
    answer->whole = status == STATUS_NOT_FOUND || object.size > 0;
    buffer_clear(&answer->object);
    buffer_append(&answer->object, object.data, object.size);
}

void get_core_fail(struct get_core *core, uint32_t home)
{
    CHECK(home < core->n);
    struct get_answer *answer = &core->answers[home];
    if (answer->answered && answer->whole) return;
    answer->failed = true;
    answer->answered = false;
}

/* What the answers would be equal to, were they all equal: the first whole one. */
static const struct get_answer *reference(const struct get_core *core)
{
    for (uint32_t i = 0; i < core->n; i++)
        if (core->answers[i].answered && core->answers[i].whole) return &core->answers[i];
    return NULL;
}

uint32_t get_core_missing(const struct get_core *core)
{
    const struct get_answer *whole = reference(core);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < core->n; i++) {
        const struct get_answer *answer = &core->answers[i];
        if (!answer->answered || answer->whole) continue;
        if (whole == NULL || whole->digest != answer->digest) missing |= 1U << i;
    }
    return missing;
}

uint32_t get_core_fetch(struct get_core *core)
{
    uint32_t fetch = get_core_missing(core) & ~core->fetching;
    core->fetching |= fetch;
    return fetch;
}

enum get_result get_core_result(const struct get_core *core)
{
    uint32_t got = get_core_got(core);
    if (got - (uint32_t)__builtin_popcount(get_core_missing(core)) >= core->r) return GET_ENOUGH;
    if (got >= core->r) return GET_NEED_OBJECTS;
    return get_core_left(core) < core->r ? GET_FAILED : GET_PENDING;
}

enum status get_core_merge(struct get_core *core, enum table_rule rule, struct arena *arena,
                           struct object *out, struct bytes *encoded, uint32_t *stale)
{
    CHECK(get_core_result(core) == GET_ENOUGH);
    struct object merged = {0};
    uint64_t digest = 0;
    bool mixed = false;
    for (uint32_t i = 0; i < core->n; i++) {
        const struct get_answer *answer = &core->answers[i];
        if (!answer->answered || !answer->whole || answer->digest == 0 || answer->digest == digest) continue;
        struct object object;
        if (object_decode(buffer_bytes(&answer->object), arena, &object) != STATUS_OK) {
            core->answers[i].answered = core->answers[i].whole = false;
            core->answers[i].failed = true;
            return STATUS_CORRUPT;
        }
        if (digest == 0) {
            merged = object;
            digest = answer->digest;
            *encoded = buffer_bytes(&answer->object);
        } else {
            merged = object_merge(&merged, &object, rule, arena);
            mixed = true;
        }
    }
    if (mixed) {
        *encoded = object_encode(&merged, arena);
        digest = object_digest(*encoded);
    }
    *stale = 0;
    if (digest == 0) return STATUS_NOT_FOUND;
    for (uint32_t i = 0; i < core->n; i++) {
        const struct get_answer *answer = &core->answers[i];
        if (answer->answered ? answer->digest != digest : answer->damaged) *stale |= 1U << i;
    }
    *out = merged;
    return STATUS_OK;
}
