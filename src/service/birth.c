#include "service/birth.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"

enum { SECRET_BYTES_MAX = 4096 };
static_assert((int)CONFIG_N_MAX == TABLE_N_MAX, "what a configuration allows is what a cluster allows");
static_assert((int)CONFIG_WEIGHT_MAX == RING_WEIGHT_MAX, "likewise");
static_assert((int)CONFIG_VNODES_MAX == RING_VNODES_MAX, "likewise");
static_assert((int)CONFIG_MEMBERS_MAX == RING_NODES_MAX, "likewise");
static_assert((int)CONFIG_TABLES_MAX == CLUSTER_TABLES_MAX, "likewise");
static_assert((int)ADDRESS_TEXT_BYTES_MAX == ADDRESS_BYTES_MAX, "likewise");

enum status birth_read_secret(const struct config *config, uint64_t cluster_id, struct context_secret *out,
                              char *why, size_t why_bytes)
{
    uint8_t contents[SECRET_BYTES_MAX + 1];
    ssize_t size = 0;
    const char *path = config->secret_file;
    if (path != NULL) {
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        size = fd < 0 || fstat(fd, &st) != 0 ? -1 : read(fd, contents, sizeof contents);
        int error = errno;
        if (fd >= 0) close(fd);
        const char *wrong = size < 0                  ? strerror(error)
                            : size == 0               ? "it is empty"
                            : size > SECRET_BYTES_MAX ? "it is above 4096 bytes"
                            : (st.st_mode & 0077) != 0
                                ? "others than its owner can use it; its mode must be 0600 or 0400"
                                : NULL;
        if (wrong != NULL) {
            snprintf(why, why_bytes, "%s: the secret file cannot be used: %s", path, wrong);
            return STATUS_INVALID;
        }
    }
    *out = context_secret_derive(bytes_of(contents, (size_t)size), cluster_id);
    explicit_bzero(contents, sizeof contents);
    return STATUS_OK;
}

static void text_copy(char *to, size_t to_bytes, const char *from)
{
    CHECK(strlen(from) < to_bytes);
    memcpy(to, from, strlen(from) + 1);
}

static struct member member_of(uint64_t id, const char *name, const char *zone, uint32_t weight,
                               const char *client, const char *peer)
{
    struct member member = {.id = id, .weight = weight};
    text_copy(member.name, sizeof member.name, name);
    text_copy(member.zone, sizeof member.zone, zone);
    text_copy(member.client_address, sizeof member.client_address, client);
    text_copy(member.peer_address, sizeof member.peer_address, peer);
    return member;
}

/* All nodes make the configured tables, so all must make the same ones: ids from names, and a stamp that any
 * later change exceeds. */
static void create_tables(struct cluster *cluster, const struct config *config)
{
    for (uint32_t i = 0; i < config->table_count; i++) {
        const struct config_table *from = &config->tables[i];
        struct table table = {.id = hash64(bytes_str(from->name), cluster->id),
                              .rule = from->lww ? RULE_LWW : RULE_SIBLINGS,
                              .n = from->n,
                              .r = from->r,
                              .w = from->w,
                              .ttl_ms = from->ttl_ms};
        const char *why = "";
        text_copy(table.name, sizeof table.name, from->name);
        CHECK(cluster_create_table(cluster, &table, &why) == STATUS_OK); /* config_parse has asked the same */
    }
}

enum status birth_init(struct birth *birth, const struct config *config, uint64_t cluster_id,
                       uint64_t node_id, uint32_t shards, const char *client_address,
                       const char *peer_address, uint64_t wall_ms, char *why, size_t why_bytes)
{
    const struct config_member *own = config_self(config);
    *birth = (struct birth){.cluster = {.id = cluster_id, .vnodes = config->vnodes}};
    enum status status = birth_read_secret(config, cluster_id, &birth->secret, why, why_bytes);
    if (status != STATUS_OK) return status;

    char name[NAME_BYTES_MAX + 1];
    snprintf(name, sizeof name, "node-%08" PRIx32, (uint32_t)(node_id >> 32));
    if (config->name[0] != '\0') text_copy(name, sizeof name, config->name);
    birth->self =
        member_of(node_id, name, config->zone, config->weight, own != NULL ? own->client : client_address,
                  own != NULL ? own->peer : peer_address);
    birth->self.incarnation = wall_ms;
    birth->self.shards = shards;
    const char *invalid = NULL;
    CHECK(member_valid(&birth->self, &invalid));
    for (uint32_t i = 0; i < config->member_count; i++) {
        const struct config_member *m = &config->members[i];
        struct member member = member_of(m->id, m->name, m->zone, m->weight, m->client, m->peer);
        CHECK(member_valid(&member, &invalid));
        cluster_merge_member(&birth->cluster, &member);
    }
    cluster_merge_member(&birth->cluster, &birth->self);
    create_tables(&birth->cluster, config);
    return STATUS_OK;
}

void birth_fini(struct birth *birth)
{
    cluster_fini(&birth->cluster);
    explicit_bzero(&birth->secret, sizeof birth->secret);
}
