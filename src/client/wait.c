/* Calls that wait: the blocking half of dynode.h, made of the other half. */
#include "client/internal.h"

struct waiter {
    struct dynode_reply *reply;
};

static void wake(void *data, struct dynode_reply *reply)
{
    ((struct waiter *)data)->reply = reply;
}

struct dynode_reply *dynode_batch(struct dynode_client *client, const struct dynode_operation *operations,
                                  size_t count, uint32_t deadline_ms)
{
    struct waiter waiter = {NULL};
    enum dynode_status status = dynode_submit(client, operations, count, deadline_ms, wake, &waiter);
    if (status == DYNODE_OK) {
        while (waiter.reply == NULL) dynode_poll(client, -1);
        return waiter.reply;
    }
    struct reply *reply = reply_new(count);
    reply->public.status = status;
    for (size_t i = 0; i < count; i++)
        reply_set(reply, (uint32_t)i, status, DYNODE_APPLIED_NO,
                  "too many operations are in flight in this client");
    return &reply->public;
}

struct dynode_reply *dynode_call(struct dynode_client *client, const struct dynode_operation *operation,
                                 uint32_t deadline_ms)
{
    return dynode_batch(client, operation, 1, deadline_ms);
}

struct dynode_reply *dynode_get(struct dynode_client *client, const char *table, struct dynode_bytes key)
{
    struct dynode_operation operation = {.kind = DYNODE_GET, .table = table, .key = key};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_put(struct dynode_client *client, const char *table, struct dynode_bytes key,
                                struct dynode_bytes value, struct dynode_bytes context)
{
    struct dynode_operation operation = {
        .kind = DYNODE_PUT, .table = table, .key = key, .value = value, .context = context};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_delete(struct dynode_client *client, const char *table, struct dynode_bytes key,
                                   struct dynode_bytes context)
{
    struct dynode_operation operation = {
        .kind = DYNODE_DELETE, .table = table, .key = key, .context = context};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_create_table(struct dynode_client *client, const struct dynode_table *table)
{
    struct dynode_operation operation = {
        .kind = DYNODE_CREATE_TABLE,
        .table = table->name,
        .rule = table->rule,
        .table_n = table->n,
        .table_r = table->r,
        .table_w = table->w,
        .ttl_ms = table->ttl_ms,
    };
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_drop_table(struct dynode_client *client, const char *name)
{
    struct dynode_operation operation = {.kind = DYNODE_DROP_TABLE, .table = name};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_list_tables(struct dynode_client *client)
{
    struct dynode_operation operation = {.kind = DYNODE_LIST_TABLES};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_cluster_info(struct dynode_client *client)
{
    struct dynode_operation operation = {.kind = DYNODE_CLUSTER_INFO};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_node_status(struct dynode_client *client, uint64_t node)
{
    struct dynode_operation operation = {.kind = DYNODE_NODE_STATUS, .node = node};
    return dynode_call(client, &operation, 0);
}

struct dynode_reply *dynode_scan(struct dynode_client *client, const char *table, uint64_t node,
                                 struct dynode_bytes cursor, uint32_t limit)
{
    struct dynode_operation operation = {
        .kind = DYNODE_SCAN, .table = table, .node = node, .cursor = cursor, .limit = limit};
    return dynode_call(client, &operation, 0);
}
