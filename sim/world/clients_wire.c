/* What clients send, packed as client.proto has it, and what they read out of the answers. */
#include <stdio.h>

#include "base/check.h"
#include "base/status.h"
#include "wire/unpack.h"
#include "world/clients_state.h"

void key_text(uint32_t key, char text[16])
{
    snprintf(text, 16, "key%u", key);
}

/* One operation and all that it points to. */
struct packing {
    Dynode__Client__Operation operation;
    union {
        Dynode__Client__Get get;
        Dynode__Client__Put put;
        Dynode__Client__Delete delete;
    };
    Dynode__Client__WriteToken token;
    char key[16];
};

static Dynode__Client__Precondition precondition_of(const struct ask *ask)
{
    if (ask->flags & OP_IF_CONTEXT) return DYNODE__CLIENT__PRECONDITION__IF_CONTEXT;
    if (ask->flags & OP_IF_ABSENT) return DYNODE__CLIENT__PRECONDITION__IF_ABSENT;
    return DYNODE__CLIENT__PRECONDITION__NONE;
}

static char table[] = "t";

static void set_operation(const struct session *session, struct lane *lane, struct packing *to)
{
    const struct ask *ask = &lane->ask;
    struct bytes context = {0};
    if (ask->with_context) context = buffer_bytes(&lane->known->context);
    Dynode__Client__Quorum quorum =
        lane->sloppy ? DYNODE__CLIENT__QUORUM__SLOPPY : DYNODE__CLIENT__QUORUM__STRICT;
    key_text(ask->key, to->key);
    dynode__client__operation__init(&to->operation);
    dynode__client__write_token__init(&to->token);
    to->token.client = session->clients->options.seed << 16 | (lane->client.number + 1U);
    to->token.sequence = lane->token;
    switch (ask->kind) {
    case OP_GET:
        to->operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_GET;
        to->operation.get = &to->get;
        dynode__client__get__init(&to->get);
        to->get.table = table;
        to->get.key = to_pb(bytes_str(to->key));
        to->get.r = lane->quorum;
        to->get.level = lane->level;
        to->get.n = lane->homes;
        to->get.quorum = quorum;
        break;
    case OP_PUT:
        to->operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_PUT;
        to->operation.put = &to->put;
        dynode__client__put__init(&to->put);
        to->put.table = table;
        to->put.key = to_pb(bytes_str(to->key));
        to->put.value = to_pb(buffer_bytes(&lane->value));
        to->put.context = to_pb(context);
        to->put.w = lane->quorum;
        to->put.level = lane->level;
        to->put.n = lane->homes;
        to->put.quorum = quorum;
        to->put.ttl_ms = ask->ttl_ms;
        to->put.precondition = precondition_of(ask);
        if (session->tokens) to->put.token = &to->token;
        break;
    case OP_DELETE:
        to->operation.kind_case = DYNODE__CLIENT__OPERATION__KIND_DELETE;
        to->operation.delete_ = &to->delete;
        dynode__client__delete__init(&to->delete);
        to->delete.table = table;
        to->delete.key = to_pb(bytes_str(to->key));
        to->delete.context = to_pb(context);
        to->delete.w = lane->quorum;
        to->delete.level = lane->level;
        to->delete.n = lane->homes;
        to->delete.quorum = quorum;
        to->delete.precondition = precondition_of(ask);
        if (session->tokens) to->delete.token = &to->token;
        break;
    }
}

void session_send(struct session *session, uint32_t deadline_ms)
{
    struct packing packings[CLIENTS_BATCH_MAX];
    Dynode__Client__Operation *operations[CLIENTS_BATCH_MAX];
    Dynode__Client__Request request = DYNODE__CLIENT__REQUEST__INIT;
    for (uint32_t i = 0; i < session->active; i++) {
        set_operation(session, &session->lanes[i], &packings[i]);
        operations[i] = &packings[i].operation;
    }
    request.id = ++session->request;
    request.deadline_ms = deadline_ms;
    request.n_operations = session->active;
    request.operations = operations;
    session->busy = true;
    /* A connection that has gone tells so itself, a little later. */
    world_send(session->clients->world, session->connection, &request);
}

void lane_clear(struct lane *lane)
{
    struct heard *heard = &lane->heard;
    buffer_clear(&heard->sealed);
    heard->seen.count = heard->elements.count = 0;
    heard->lost = heard->good = heard->rejected = false;
    heard->damage = NULL;
    heard->status = STATUS_OK;
    lane->applied = DYNODE__CLIENT__APPLIED__APPLIED_NOTHING_TO_SAY;
}

/* A sibling: its value, and when it was written. What is wrong, or NULL. */
static const char *hear_sibling(struct clients *clients, struct lane *lane,
                                const Dynode__Client__Sibling *sibling)
{
    struct bytes value = bytes_of(sibling->value.data, sibling->value.len);
    enum content content = clients->contents[lane->ask.key];
    struct tokens seen = tokens_of(&lane->heard.seen);
    const char *damage = value_read(value, lane->ask.key, content, &lane->heard);
    if (damage != NULL) return damage;
    uint32_t token = lane->heard.seen.list[seen.count];
    bool same = history_written(&clients->history, token, sibling->written_ms);
    return same ? NULL : "said to be written at two times";
}

void lane_hear(struct clients *clients, struct lane *lane, const Dynode__Client__Result *result)
{
    struct heard *heard = &lane->heard;
    heard->status = (uint8_t)result->status;
    heard->good =
        result->status == DYNODE__CLIENT__STATUS__OK || result->status == DYNODE__CLIENT__STATUS__NOT_FOUND;
    heard->rejected = result->status == DYNODE__CLIENT__STATUS__CONFLICT;
    lane->applied = (uint8_t)result->applied;
    if (result->context.len > 0) buffer_append(&heard->sealed, result->context.data, result->context.len);
    for (size_t i = 0; i < result->n_siblings; i++) {
        const char *damage = hear_sibling(clients, lane, result->siblings[i]);
        if (damage != NULL) heard->damage = damage;
    }
}
