/* Digest: what a cluster state is, in a few bytes, so that two nodes find out what they know differently by
 * sending little more than that.
 *
 * Each record has a name (a hash of what identifies it) and a digest (a hash of all that it says). Records
 * fall into DIGEST_BUCKETS by name; a bucket is the sum of its records' digests, and the whole the hash of
 * all buckets. So a difference of one record among a thousand is found by 8 bytes, then 512, then some 16
 * records' names. */
#pragma once

#include "ring/cluster.h"

enum { DIGEST_BUCKETS = 64 };

struct digest {
    uint64_t whole;
    uint64_t buckets[DIGEST_BUCKETS];
};

struct digest digest_of(const struct cluster *cluster);

/* One record: a member or a table. */
struct record {
    uint64_t name, digest;
    uint32_t place; /* in cluster->members or ->tables */
    bool is_table;
};

uint32_t record_bucket(uint64_t name);

/* All records of the buckets in @buckets (bit i: bucket i), sorted by name, into @out, which has room for all
 * of the cluster's. Returns how many. */
uint32_t digest_records(const struct cluster *cluster, uint64_t buckets, struct record *out);
