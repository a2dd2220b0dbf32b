/* The life of an operation between dynode_submit and its result (the drawing in internal.h): when it waits,
 * whether it may be asked again, and what is said of it in the end. The rule that matters: a write is sent
 * again only if it has certainly not been applied, because it had not left whole or a node said so. */
#include <stdio.h>

#include "base/backoff.h"
#include "base/check.h"
#include "client/internal.h"

enum { RETRY_MS_MIN = 20, RETRY_MS_MAX = 1000 };

void operation_wait(struct dynode_client *client, struct operation *operation, int64_t delay_ms)
{
    operation->channel = NULL;
    operation->request = NULL;
    operation->not_before_ms = delay_ms == 0 ? 0 : client->now_ms + delay_ms;
    TAILQ_INSERT_TAIL(&client->waiting, operation, link);
}

void operation_finish(struct dynode_client *client, struct operation *operation)
{
    struct call *call = operation->call;
    CHECK(!operation->done);
    operation->done = true;
    operation->channel = NULL;
    operation->request = NULL;
    if (--call->open > 0) return;
    TAILQ_REMOVE(&client->calls, call, link);
    TAILQ_INSERT_TAIL(&client->finished, call, link);
}

/* End what has certainly not been applied. */
void operation_fail(struct dynode_client *client, struct operation *operation, enum dynode_status status,
                    const char *message)
{
    enum dynode_applied applied = DYNODE_APPLIED_NOTHING_TO_SAY;
    if (operation->write) applied = status == DYNODE_INTERNAL ? DYNODE_APPLIED_MAYBE : DYNODE_APPLIED_NO;
    reply_set(operation->call->reply, operation->index, status, applied, message);
    operation_finish(client, operation);
}

void operation_lost(struct dynode_client *client, struct operation *operation, bool may_have, const char *why)
{
    if (!may_have || !operation->write) {
        operation->partial = false; /* half an answer is none */
        /* The first time at once: it may just have been an old connection. */
        int64_t delay = operation->losses <= 1 ? 0
                                               : (int64_t)backoff_draw(&client->prng, RETRY_MS_MIN,
                                                                       RETRY_MS_MAX, operation->losses - 2u);
        operation_wait(client, operation, delay);
        return;
    }
    char message[CLIENT_WHY_BYTES + 400];
    snprintf(message, sizeof(message), "%s was lost while it had the request: %s",
             operation->channel->endpoint->address.text, why);
    reply_set(operation->call->reply, operation->index, DYNODE_UNAVAILABLE, DYNODE_APPLIED_MAYBE, message);
    operation_finish(client, operation);
}

void operation_tried(struct operation *operation, const struct endpoint *endpoint)
{
    if (operation->tried_count < CLIENT_ATTEMPTS_MAX)
        operation->tried[operation->tried_count++] = endpoint->number;
}

void operation_answered(struct dynode_client *client, struct operation *operation, struct endpoint *endpoint)
{
    const struct dynode_result *result = &operation->call->reply->public.results[operation->index];
    bool again = false;
    switch (result->status) {
    case DYNODE_OVERLOADED:
        again = true;
        break;
    case DYNODE_STOPPING:
        operation_tried(operation, endpoint);
        endpoint_failed(client, endpoint, "it is stopping");
        again = true;
        break;
    case DYNODE_UNAVAILABLE:
        operation_tried(operation, endpoint); /* another node may reach more replicas */
        again = (!operation->write || result->applied == DYNODE_APPLIED_NO) && operation->refusals < 2;
        break;
    default:
        break;
    }
    if (!again || operation->refusals >= CLIENT_REFUSALS_MAX) {
        operation_finish(client, operation);
        return;
    }
    operation_wait(client, operation,
                   (int64_t)backoff_draw(&client->prng, RETRY_MS_MIN, RETRY_MS_MAX, operation->refusals++));
}

void operation_give_up(struct dynode_client *client, struct operation *operation)
{
    if (operation->answered) {
        operation_finish(client, operation);
        return;
    }
    char message[900];
    size_t size = 0;
    if (operation->node != 0)
        size += (size_t)snprintf(message, sizeof(message), "node %016llx is no member, or cannot be reached",
                                 (unsigned long long)operation->node);
    else
        size += (size_t)snprintf(message, sizeof(message), "no node can be reached");
    for (uint32_t i = 0; i < client->endpoint_count && size < sizeof(message); i++) {
        const struct endpoint *endpoint = client->endpoints[i];
        if (endpoint->why[0] == '\0' || endpoint->failures == 0) continue;
        size += (size_t)snprintf(message + size, sizeof(message) - size, "; %s: %s", endpoint->address.text,
                                 endpoint->why);
    }
    if (operation->node == 0) client_unanswered(client, operation->call->began_ms);
    operation_fail(client, operation, DYNODE_UNAVAILABLE, message);
}
