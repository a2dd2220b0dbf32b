#include "ring/digest.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* What a record says, in bytes that are the same on every machine. */
struct text {
    uint8_t bytes[512];
    size_t size;
};

static void add_number(struct text *text, uint64_t value)
{
    CHECK(text->size + 8 <= sizeof(text->bytes));
    put_be64(text->bytes + text->size, value);
    text->size += 8;
}

static void add_string(struct text *text, const char *string)
{
    size_t size = strlen(string) + 1;
    CHECK(text->size + size <= sizeof(text->bytes));
    memcpy(text->bytes + text->size, string, size);
    text->size += size;
}

enum { SEED_MEMBER = 1, SEED_TABLE = 2, SEED_DIGEST = 3, SEED_WHOLE = 4 };

static struct record member_record(const struct member *member, uint32_t place)
{
    struct text text = {.size = 0};
    add_number(&text, member->id);
    uint64_t name = hash64(bytes_of(text.bytes, text.size), SEED_MEMBER);
    add_number(&text, member->incarnation);
    add_number(&text, (uint64_t)member->weight << 32 | member->shards);
    add_number(&text, member->given_up_below);
    add_string(&text, member->name);
    add_string(&text, member->zone);
    add_string(&text, member->peer_address);
    add_string(&text, member->client_address);
    return (struct record){
        .name = name, .digest = hash64(bytes_of(text.bytes, text.size), SEED_DIGEST), .place = place};
}

static struct record table_record(const struct table *table, uint32_t place)
{
    struct text text = {.size = 0};
    add_string(&text, table->name);
    add_number(&text, table->generation);
    uint64_t name = hash64(bytes_of(text.bytes, text.size), SEED_TABLE);
    add_number(&text, table->id);
    add_number(&text, (uint64_t)table->rule << 32 | table->n);
    add_number(&text, (uint64_t)table->r << 32 | table->w);
    add_number(&text, table->ttl_ms);
    add_number(&text, table->alter_stamp);
    add_number(&text, table->alter_node);
    add_number(&text, table->dropped);
    return (struct record){.name = name,
                           .digest = hash64(bytes_of(text.bytes, text.size), SEED_DIGEST),
                           .place = place,
                           .is_table = true};
}

uint32_t record_bucket(uint64_t name)
{
    return (uint32_t)(name % DIGEST_BUCKETS);
}

struct digest digest_of(const struct cluster *cluster)
{
    struct digest digest = {0};
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        struct record record = member_record(&cluster->members[i], i);
        digest.buckets[record_bucket(record.name)] += record.digest;
    }
    for (uint32_t i = 0; i < cluster->table_count; i++) {
        struct record record = table_record(&cluster->tables[i], i);
        digest.buckets[record_bucket(record.name)] += record.digest;
    }
    struct text text = {.size = 0};
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) add_number(&text, digest.buckets[i]);
    digest.whole = hash64(bytes_of(text.bytes, text.size), SEED_WHOLE);
    return digest;
}

static int by_name(const void *left, const void *right)
{
    const struct record *a = left;
    const struct record *b = right;
    if (a->name != b->name) return a->name < b->name ? -1 : 1;
    if (a->is_table != b->is_table) return a->is_table ? 1 : -1;
    return a->place < b->place ? -1 : a->place > b->place;
}

uint32_t digest_records(const struct cluster *cluster, uint64_t buckets, struct record *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        struct record record = member_record(&cluster->members[i], i);
        if ((buckets >> record_bucket(record.name) & 1) != 0) out[count++] = record;
    }
    for (uint32_t i = 0; i < cluster->table_count; i++) {
        struct record record = table_record(&cluster->tables[i], i);
        if ((buckets >> record_bucket(record.name) & 1) != 0) out[count++] = record;
    }
    qsort(out, count, sizeof(*out), by_name);
    return count;
}
