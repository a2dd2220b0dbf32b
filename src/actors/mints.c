#include "actors/mints.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* A row: "mint", the tenure's number (8 bytes, big-endian); its clock, its last counter (8 each). */
enum { PREFIX_BYTES = 4, KEY_BYTES = PREFIX_BYTES + 8, VALUE_BYTES = 16 };

static const char prefix[] = "mint", prefix_end[] = "minu";

static struct bytes key_encode(uint64_t number, uint8_t key[KEY_BYTES])
{
    memcpy(key, prefix, PREFIX_BYTES);
    put_be64(key + PREFIX_BYTES, number);
    return bytes_of(key, KEY_BYTES);
}

static void append(struct mints *mints, struct dot last)
{
    if (mints->count == mints->capacity) {
        mints->capacity = mints->capacity == 0 ? 8 : mints->capacity * 2;
        mints->tenures = realloc(mints->tenures, mints->capacity * sizeof(*mints->tenures));
        CHECK(mints->tenures != NULL);
    }
    mints->tenures[mints->count++] = last;
}

/* Rows come in the order of their numbers. One that is missing, or can't be right, leaves an empty place: its
 * mints are not known any more. */
static bool load_row(void *context, struct bytes key, struct bytes value)
{
    struct mints *mints = context;
    if (key.size != KEY_BYTES || value.size != VALUE_BYTES) return true;
    uint64_t number = get_be64(key.data + PREFIX_BYTES);
    struct dot last = {.clock = get_be64(value.data), .counter = get_be64(value.data + 8)};
    if (number == 0 || last.clock == 0 || last.counter == 0) return true;
    if (mints->count == 0) mints->first = number;
    if (number - mints->first >= 2 * (uint64_t)MINTS_TENURES_MAX) return true;
    while (mints->first + mints->count < number) append(mints, (struct dot){0});
    append(mints, last);
    return true;
}

enum status mints_load(struct mints *mints, struct store *store)
{
    mints->first = 1;
    return store_scan(store, STORE_META, bytes_str(prefix), bytes_str(prefix_end), load_row, mints);
}

void mints_fini(struct mints *mints)
{
    free(mints->tenures);
    *mints = (struct mints){0};
}

static void forget_first(struct mints *mints, struct store *store)
{
    uint8_t key[KEY_BYTES];
    store_remove(store, STORE_META, key_encode(mints->first, key));
    mints->first++;
    mints->count--;
    memmove(mints->tenures, mints->tenures + 1, mints->count * sizeof(*mints->tenures));
}

enum status mints_next(struct mints *mints, struct store *store, struct prng *prng, struct dot *dot)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    struct dot next = {0};
    uint64_t number = mints->first + mints->count;
    if (mints->open) {
        next = mints->tenures[mints->count - 1];
        number--;
    }
    while (next.clock == 0) next.clock = prng_next(prng);
    next.counter++;
    put_be64(value, next.clock);
    put_be64(value + 8, next.counter);
    enum status status =
        store_put(store, STORE_META, key_encode(number, key), bytes_of(value, sizeof(value)));
    if (status != STATUS_OK) return status;
    if (!mints->open) {
        while (mints->count >= MINTS_TENURES_MAX) forget_first(mints, store);
        append(mints, next);
        mints->open = true;
    }
    mints->tenures[mints->count - 1] = next;
    *dot = next;
    return STATUS_OK;
}

void mints_end(struct mints *mints)
{
    mints->open = false;
}

void mints_judge(struct mints *mints, const struct vv *context)
{
    if (!mints->open) return;
    const struct dot *last = &mints->tenures[mints->count - 1];
    if (vv_get(context, last->clock) > last->counter) mints_end(mints);
}
