/* A page of a shard's own keys of one table (client.proto's Scan): for people and tests. */
#pragma once

#include "actor/actor.h"

enum {
    SCAN_VISITS_MAX = 4096,       /* objects looked at for one page: a scan shares the shard with clients */
    SCAN_BYTES_MAX = 2 * 1048576, /* of objects and keys looked at: below a client's frame */
};

/* Answer a ScanShard. */
void replica_scan(struct turn *turn, const struct mail *mail);
