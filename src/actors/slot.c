#include "actors/slot.h"

#include <stdlib.h>

#include "base/check.h"

struct slot *slots_take(struct slots *slots)
{
    if (slots->unused_count == 0) {
        uint32_t count = slots->count == 0 ? 64 : slots->count * 2;
        slots->pool = realloc(slots->pool, count * sizeof(*slots->pool));
        slots->unused = realloc(slots->unused, count * sizeof(*slots->unused));
        CHECK(slots->pool != NULL);
        CHECK(slots->unused != NULL);
        for (uint32_t i = count; i-- > slots->count;) {
            slots->pool[i] = calloc(1, sizeof(struct slot));
            CHECK(slots->pool[i] != NULL);
            slots->pool[i]->id = request_id(slots->generation, i);
            slots->unused[slots->unused_count++] = i;
        }
        slots->count = count;
    }
    struct slot *slot = slots->pool[slots->unused[--slots->unused_count]];
    slots->kept_bytes -= slot->kept_bytes;
    slot->kept_bytes = 0;
    return slot;
}

static void keep_small(struct slots *slots, struct slot *slot, struct buffer *buffer)
{
    if (buffer->capacity > SLOT_KEPT_BYTES_MAX || slots->kept_bytes + buffer->capacity > SLOTS_KEPT_BYTES_MAX)
        buffer_fini(buffer);
    buffer_clear(buffer);
    slot->kept_bytes += buffer->capacity;
    slots->kept_bytes += buffer->capacity;
}

void slots_give_back(struct slots *slots, struct slot *slot)
{
    CHECK(slot->phase != SLOT_FREE);
    CHECK(slot->homes_owe == 0);
    CHECK(slot->stand_ins_owe == 0);
    slots->bytes -= slot->bytes;
    if (slot->phase == SLOT_LINGERING) {
        slots->lingering--;
        slots->lingering_bytes -= slot->bytes;
    }
    slot->bytes = 0;
    slot->phase = SLOT_FREE;
    slot->id = request_id_next(slot->id);
    slot->deadline_timer = slot->hedge_timer = 0;
    slot->context_only = slot->alone = slot->late = slot->refused = slot->unfilled = slot->waits = false;
    slot->stood = slot->next_fallback = slot->first = 0;
    slot->owed_bytes = 0;
    memset(slot->stand_ins, 0, sizeof(slot->stand_ins));
    keep_small(slots, slot, &slot->key);
    keep_small(slots, slot, &slot->mint);
    keep_small(slots, slot, &slot->object);
    for (uint32_t i = 0; i < TABLE_N_MAX; i++) keep_small(slots, slot, &slot->get.answers[i].object);
    slots->unused[slots->unused_count++] = (uint32_t)slot->id;
}

void slots_linger(struct slots *slots, struct slot *slot)
{
    CHECK(slot->phase == SLOT_WRITING);
    slot->phase = SLOT_LINGERING;
    slot->waits = false;
    slots->lingering++;
    slots->lingering_bytes += slot->bytes;
}

void slots_weigh(struct slots *slots, struct slot *slot)
{
    slots->bytes -= slot->bytes;
    slot->bytes = slot->key.size + slot->mint.size + slot->object.size;
    for (uint32_t i = 0; i < slot->get.n; i++) slot->bytes += slot->get.answers[i].object.size;
    slots->bytes += slot->bytes;
}

struct slot *slots_find(const struct slots *slots, uint64_t id)
{
    uint32_t place = (uint32_t)id;
    if (place >= slots->count) return NULL;
    struct slot *slot = slots->pool[place];
    return slot->id == id && slot->phase != SLOT_FREE ? slot : NULL;
}

void slots_fini(struct slots *slots)
{
    for (uint32_t i = 0; i < slots->count; i++) {
        struct slot *slot = slots->pool[i];
        get_core_fini(&slot->get);
        buffer_fini(&slot->key);
        buffer_fini(&slot->mint);
        buffer_fini(&slot->object);
        free(slot);
    }
    free(slots->pool);
    free(slots->unused);
    *slots = (struct slots){0};
}

void slot_owe(struct slot *slot, struct turn *turn, uint32_t position, bool stand_in)
{
    uint32_t *owe = stand_in ? &slot->stand_ins_owe : &slot->homes_owe;
    if (*owe >> position & 1) return;
    *owe |= 1U << position;
    turn_owe(turn, stand_in ? slot->stand_ins[position] : slot->homes[position], slot->owed_bytes);
}

bool slot_owes(const struct slot *slot, uint32_t position, bool stand_in)
{
    return ((stand_in ? slot->stand_ins_owe : slot->homes_owe) >> position & 1) != 0;
}

void slot_settle(struct slot *slot, struct turn *turn, uint32_t position, bool stand_in)
{
    uint32_t *owe = stand_in ? &slot->stand_ins_owe : &slot->homes_owe;
    if ((*owe >> position & 1) == 0) return;
    *owe &= ~(1U << position);
    turn_settle(turn, stand_in ? slot->stand_ins[position] : slot->homes[position], slot->owed_bytes);
}

void slot_settle_all(struct slot *slot, struct turn *turn)
{
    for (uint32_t i = 0; (slot->homes_owe | slot->stand_ins_owe) >> i != 0; i++) {
        slot_settle(slot, turn, i, false);
        slot_settle(slot, turn, i, true);
    }
}

uint32_t slot_position_of(const struct slot *slot, uint64_t node, bool *stand_in)
{
    for (uint32_t i = 0; i < slot->n; i++) {
        *stand_in = slot->homes[i] != node;
        if (!*stand_in || slot->stand_ins[i] == node) return i;
    }
    return slot->n;
}
