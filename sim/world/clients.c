#include "world/clients.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/status.h"
#include "world/call.h"
#include "world/clients_state.h"

static const uint64_t ms = 1000000;
enum { ATTEMPTS_MAX = 4, SWEEP_LANES = CLIENTS_BATCH_MAX };
enum { PATIENT_MS = 1000 }; /* a deadline that every healthy cluster keeps */

static const struct client_kind *const kinds[CLIENT_KINDS] = {&client_register, &client_cart, &client_counter,
                                                              &client_recreate};

struct clients_options clients_options_draw(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed ^ 0xc11e);
    struct clients_options options = {.seed = seed, .n = 3, .r = 2, .w = 2, .grace_ns = 10 * ms};
    /* Statement by statement: in an initializer C leaves the order of the draws open. */
    options.sessions = 4 + (uint32_t)prng_below(&prng, 8);
    options.keys = prng_chance(&prng, 1, 4) ? 4 : 8 + (uint32_t)prng_below(&prng, 16);
    options.think_ns = prng_chance(&prng, 1, 2) ? 30 * ms : 5 * ms;
    options.deadline_ms = prng_chance(&prng, 1, 2) ? 1000 : 200;
    options.moves = prng_chance(&prng, 1, 2) ? 2 : (uint32_t)prng_below(&prng, 40);
    options.batching = prng_chance(&prng, 1, 2) ? 30 : 0;
    options.tokens = (uint32_t)prng_below(&prng, 101);
    options.impatient = (uint32_t)prng_below(&prng, 40);
    options.weak = prng_chance(&prng, 1, 4) ? 5 : 0;
    for (uint32_t i = 0; i < CLIENT_KINDS; i++) options.kinds[i] = 1 + (uint32_t)prng_below(&prng, 4);
    struct client_habits *habits = &options.habits;
    habits->gets = 1 + (uint32_t)prng_below(&prng, 8);
    habits->puts = 1 + (uint32_t)prng_below(&prng, 8);
    habits->deletes = (uint32_t)prng_below(&prng, 3);
    habits->contexts = 30 + (uint32_t)prng_below(&prng, 70);
    habits->conditions = prng_chance(&prng, 1, 2) ? (uint32_t)prng_below(&prng, 40) : 0;
    habits->blinds = prng_chance(&prng, 1, 2) ? 10 : 0;
    habits->hot = prng_chance(&prng, 1, 3) ? 60 : 0;
    habits->ttl_ms = prng_chance(&prng, 1, 3) ? 1000 : 0;
    habits->value_bytes = prng_chance(&prng, 1, 4) ? 5200 : 100;
    options.levels = prng_chance(&prng, 1, 3) ? 10 + (uint32_t)prng_below(&prng, 60) : 0;
    return options;
}

/* Must every operation succeed now? */
static bool is_expecting(const struct clients *clients)
{
    uint32_t duties = clients->duty_count;
    return duties > 0 && clients->duties[duties - 1].until_ns == UINT64_MAX;
}

/* --- what is under way --- */

static void act(void *context, uint64_t argument);

static void rest(struct session *session)
{
    struct clients *clients = session->clients;
    uint64_t rest_ns = clients->options.think_ns;
    if (rest_ns > 0) rest_ns = prng_below(&clients->prng, rest_ns);
    session->resting = true;
    world_at(clients->world, world_now(clients->world) + rest_ns, act, session, 0);
}

bool session_connect(struct session *session, uint32_t node, uint32_t shard)
{
    struct clients *clients = session->clients;
    uint64_t connection = world_connect(clients->world, node, shard);
    session->node = node;
    session->connection = connection;
    if (connection == 0) return false;
    while (clients->connection_count < connection) {
        uint32_t count = clients->connection_count;
        if ((count & (count - 1)) == 0) { /* a power of two is full */
            clients->session_of =
                realloc(clients->session_of, (count == 0 ? 1 : 2 * (size_t)count) * sizeof(uint32_t));
            CHECK(clients->session_of != NULL);
        }
        clients->session_of[clients->connection_count++] = UINT32_MAX;
    }
    clients->session_of[connection - 1] = (uint32_t)(session - clients->sessions);
    return true;
}

static bool connected(struct session *session)
{
    struct clients *clients = session->clients;
    /* Who hung up may hear the answer yet, that was on its way; but the connection is gone. */
    bool may_stay = (clients->nodes >> session->node & 1) != 0 && !session->hung_up;
    session->hung_up = false;
    if (session->connection != 0 && may_stay && !clients_chance(clients, clients->options.moves)) return true;
    if (session->connection != 0) world_disconnect(clients->world, session->connection);
    uint32_t nodes = world_nodes(clients->world), node = (uint32_t)prng_below(&clients->prng, nodes);
    while ((clients->nodes >> node & 1) == 0) node = (node + 1) % nodes;
    return session_connect(session, node, (uint32_t)prng_below(&clients->prng, WORLD_SHARDS_MAX));
}

/* How many homes it waits for, as client.proto has it. */
static struct quorum quorum_of(const struct clients_options *options, const struct lane *lane)
{
    uint32_t homes = lane->homes != 0 ? lane->homes : options->n, majority = options->n / 2 + 1;
    uint32_t needs = lane->ask.kind == OP_GET ? options->r : options->w;
    if (lane->quorum != 0) needs = lane->quorum;
    if (lane->level == DYNODE__CLIENT__LEVEL__ONE) needs = 1;
    if (lane->level == DYNODE__CLIENT__LEVEL__QUORUM) needs = homes / 2 + 1;
    if (lane->level == DYNODE__CLIENT__LEVEL__ALL || needs > homes) needs = homes;
    if (lane->ask.kind != OP_GET && lane->ask.flags != 0 && needs < majority) needs = majority;
    return (struct quorum){.needs = (uint8_t)needs, .homes = (uint8_t)homes};
}

/* So many homes of every key are among the nodes that are there, where all must succeed. */
static uint32_t homes_at_hand(const struct clients *clients)
{
    const struct clients_options *options = &clients->options;
    uint32_t all = (UINT32_C(1) << world_nodes(clients->world)) - 1, most = options->n / 2 + 1;
    if (!is_expecting(clients) || (clients->nodes & all) == all) return options->n;
    if (options->r > most) most = options->r;
    return options->w > most ? options->w : most;
}

/* It leaves that to the table. */
static void ask_as_table(const struct clients *clients, struct lane *lane)
{
    lane->quorum = clients->options.quorum;
    lane->homes = 0;
    lane->level = DYNODE__CLIENT__LEVEL__TABLE;
}

/* It says itself how many homes it asks for; a precondition needs all of them to be asked. */
static void draw_level(struct clients *clients, struct lane *lane)
{
    static const Dynode__Client__Level levels[] = {DYNODE__CLIENT__LEVEL__ONE, DYNODE__CLIENT__LEVEL__QUORUM,
                                                   DYNODE__CLIENT__LEVEL__ALL};
    struct prng *prng = &clients->prng;
    uint32_t n = clients->options.n, most = homes_at_hand(clients);
    bool some = lane->ask.flags == 0 && prng_chance(prng, 1, 4);
    if (some && most == n) lane->homes = n = 1 + (uint32_t)prng_below(prng, n);
    if (prng_chance(prng, 1, 2))
        lane->level = levels[prng_below(prng, most >= n ? 3 : 2)];
    else
        lane->quorum = 1 + (uint32_t)prng_below(prng, most < n ? most : n);
}

/* Once more what it wanted. Where that must succeed it is no time to ask for more homes than are at hand. */
static void begin_again(struct session *session, struct lane *lane, uint64_t deadline_ns)
{
    struct clients *clients = session->clients;
    if (is_expecting(clients) && (lane->homes != 0 || lane->level != DYNODE__CLIENT__LEVEL__TABLE ||
                                  lane->quorum > homes_at_hand(clients)))
        ask_as_table(clients, lane);
    clients->history.ops[lane->token - 1].quorum = quorum_of(&clients->options, lane);
    history_again(&clients->history, lane->token, session->node, world_now(clients->world), deadline_ns,
                  lane->maybe);
}

/* What the lane wants next, and its place in the history. */
static void begin(struct session *session, struct lane *lane, uint64_t deadline_ns)
{
    struct clients *clients = session->clients;
    struct client *client = &lane->client;
    struct ask *ask = &lane->ask;
    ask->elements.count = 0;
    *ask = (struct ask){.elements = ask->elements};
    client->kind->next(client, ask);
    ask->key = client->keys[ask->place];
    lane->known = &client->known[ask->place];
    lane->attempts = 0;
    lane->maybe = false;
    ask_as_table(clients, lane);
    struct op op = {.kind = (uint8_t)ask->kind,
                    .flags = (uint16_t)ask->flags,
                    .session = client->number,
                    .node = (uint16_t)session->node,
                    .key = ask->key,
                    .deadline_ns = deadline_ns,
                    .ttl_ns = ask->ttl_ms * ms};
    if (ask->kind == OP_DELETE && !ask->with_context) op.flags |= OP_BLIND;
    if (ask->flags == 0 && clients_chance(clients, clients->options.weak)) {
        lane->quorum = 1;
        op.flags |= OP_WEAK;
    } else if (clients_chance(clients, clients->options.levels)) {
        draw_level(clients, lane);
    }
    op.quorum = quorum_of(&clients->options, lane);
    if (clients->options.levels > 0 && ask->kind != OP_GET && op.quorum.needs <= clients->options.lost_max)
        op.flags |= OP_WEAK;
    lane->sloppy = ask->flags == 0 && clients_chance(clients, clients->options.sloppy);
    if (lane->sloppy && clients->options.sloppy_is_weak) op.flags |= OP_WEAK;
    struct tokens covers = {0};
    if (ask->with_context && ask->kind != OP_GET) covers = tokens_of(&lane->known->tokens);
    lane->token =
        history_invoke(&clients->history, &op, world_now(clients->world), covers, tokens_of(&ask->elements));
    if (ask->kind == OP_PUT) value_write(&lane->value, lane->token, ask);
}

static void hang_up(void *context, uint64_t request)
{
    struct session *session = context;
    if (session->busy && session->request == request && session->connection != 0)
        world_disconnect(session->clients->world, session->connection);
    session->hung_up |= session->busy && session->request == request;
}

static void act(void *context, uint64_t argument)
{
    (void)argument;
    struct session *session = context;
    struct clients *clients = session->clients;
    session->resting = false;
    if (clients->stopped || session->busy) return;
    if (!connected(session)) {
        rest(session);
        return;
    }
    bool expecting = is_expecting(clients);
    uint32_t most = expecting ? PATIENT_MS : clients->options.deadline_ms,
             least = expecting ? most : most / 10 + 1;
    uint32_t deadline_ms = least + (uint32_t)prng_below(&clients->prng, most - least + 1);
    uint64_t now_ns = world_now(clients->world), deadline_ns = now_ns + deadline_ms * ms;
    session->active = session->lane_count;
    for (uint32_t i = 0; i < session->active; i++) {
        struct lane *lane = &session->lanes[i];
        if (lane->again)
            begin_again(session, lane, deadline_ns);
        else
            begin(session, lane, deadline_ns);
        lane->again = false;
        lane->attempts++;
        lane_clear(lane);
    }
    session_send(session, deadline_ms);
    if (session->impatient && !expecting && prng_chance(&clients->prng, 1, 8))
        world_at(clients->world, now_ns + prng_below(&clients->prng, 20 * ms), hang_up, session,
                 session->request);
}

/* --- what comes of it --- */

static enum outcome outcome_of(const struct lane *lane)
{
    if (!lane->heard.lost && lane->heard.good) return OUTCOME_OK;
    bool not_applied = !lane->heard.lost && answer_not_applied(lane->heard.status, lane->applied);
    return not_applied && !lane->maybe ? OUTCOME_FAIL : OUTCOME_INFO;
}

/* A write is sent again where that can't do harm: it was not applied, or it has a token. Where it must
 * succeed a failure is not to be forgotten over the next attempt. */
static bool may_repeat(struct session *session, const struct lane *lane, enum outcome outcome)
{
    const struct heard *heard = &lane->heard;
    if (lane->ask.kind == OP_GET || outcome == OUTCOME_OK || lane->attempts >= ATTEMPTS_MAX) return false;
    if (heard->rejected || heard->status == STATUS_TOO_MANY_SIBLINGS || heard->status == STATUS_TOO_LARGE)
        return false;
    if (session->clients->stopped || is_expecting(session->clients)) return false;
    return (session->tokens || outcome == OUTCOME_FAIL) && clients_chance(session->clients, 70);
}

static void end_lane(struct session *session, struct lane *lane)
{
    struct clients *clients = session->clients;
    struct heard *heard = &lane->heard;
    const struct ask *ask = &lane->ask;
    if (lane->token == 0) return; /* not one for the history */
    if (heard->damage != NULL)
        verdict_fault(&clients->verdict, "operation %u: a value of key %u is %s", lane->token, ask->key,
                      heard->damage);
    enum outcome outcome = outcome_of(lane);
    uint32_t flags = (heard->lost ? OP_LOST : 0U) | (heard->hung_up ? OP_HUNG_UP : 0U) |
                     (heard->rejected ? OP_REJECTED : 0U);
    history_return(&clients->history, lane->token, outcome, world_now(clients->world),
                   tokens_of(&heard->seen), flags);
    clients->history.ops[lane->token - 1].status = heard->status;
    if (!heard->lost) clients->operations++;
    if (lane->known == NULL) return; /* the sweeper looks for itself */
    if (may_repeat(session, lane, outcome)) {
        lane->again = true;
        lane->maybe |= outcome == OUTCOME_INFO;
        return;
    }
    client_learn(&lane->client, ask, heard, ask->kind == OP_PUT && heard->good ? lane->token : 0);
    lane->client.kind->take(&lane->client, ask, heard);
}

static void end(struct session *session, bool lost, bool hung_up)
{
    session->busy = false;
    for (uint32_t i = 0; i < session->active; i++) {
        session->lanes[i].heard.lost = lost;
        session->lanes[i].heard.hung_up = hung_up;
        end_lane(session, &session->lanes[i]);
    }
    if (session->lanes[0].known != NULL) rest(session);
}

static struct session *session_of(struct clients *clients, uint64_t connection)
{
    if (connection > clients->connection_count) return NULL;
    uint32_t place = clients->session_of[connection - 1];
    if (place == UINT32_MAX || clients->sessions[place].connection != connection) return NULL;
    return &clients->sessions[place];
}

static void answer(void *context, uint64_t connection, const Dynode__Client__Response *response)
{
    struct clients *clients = context;
    struct session *session = session_of(clients, connection);
    if (session == NULL || !session->busy || response->id != session->request) return;
    for (size_t i = 0; i < response->n_results; i++) {
        CHECK(response->results[i]->operation < session->active);
        struct lane *lane = &session->lanes[response->results[i]->operation];
        lane_hear(clients, lane, response->results[i]);
    }
    if (response->last) end(session, false, false);
}

static void closed(void *context, uint64_t connection)
{
    struct clients *clients = context;
    struct session *session = session_of(clients, connection);
    if (session == NULL) return;
    const char *why = world_hung_up(clients->world, connection);
    session->connection = 0;
    if (session->busy)
        end(session, true, why != NULL);
    else if (why != NULL)
        verdict_fault(&clients->verdict, "n%u hung up on a client that had asked for nothing: %s",
                      session->node + 1, why);
}

/* --- all of them --- */

static void deal_keys(struct clients *clients)
{
    const struct clients_options *options = &clients->options;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < CLIENT_KINDS; i++) sum += options->kinds[i];
    CHECK(sum > 0);
    clients->contents = calloc(options->keys, sizeof(*clients->contents));
    CHECK(clients->contents != NULL);
    for (uint32_t i = 0; i < CLIENT_KINDS; i++) {
        clients->keys[i] = calloc(options->keys, sizeof(**clients->keys));
        CHECK(clients->keys[i] != NULL);
    }
    for (uint32_t key = 0; key < options->keys; key++) {
        uint64_t drawn = prng_below(&clients->prng, sum);
        uint32_t kind = 0;
        for (; drawn >= options->kinds[kind]; kind++) drawn -= options->kinds[kind];
        clients->contents[key] = kinds[kind]->content;
        clients->keys[kind][clients->key_counts[kind]++] = key;
    }
}

static uint32_t draw_client_kind(struct clients *clients)
{
    uint64_t drawn = prng_below(&clients->prng, clients->options.keys);
    uint32_t kind = 0;
    for (; drawn >= clients->key_counts[kind]; kind++) drawn -= clients->key_counts[kind];
    return kind;
}

static void make_session(struct clients *clients, struct session *session, uint32_t *clients_made)
{
    struct prng *prng = &clients->prng;
    *session = (struct session){.clients = clients, .lane_count = 1};
    if (clients_chance(clients, clients->options.batching))
        session->lane_count = 2 + (uint32_t)prng_below(prng, CLIENTS_BATCH_MAX - 1);
    session->tokens = clients_chance(clients, clients->options.tokens);
    session->impatient = clients_chance(clients, clients->options.impatient);
    session->lanes = calloc(session->lane_count, sizeof(*session->lanes));
    CHECK(session->lanes != NULL);
    for (uint32_t i = 0; i < session->lane_count; i++) {
        uint32_t kind = draw_client_kind(clients);
        client_init(&session->lanes[i].client, kinds[kind], &clients->options.habits, prng_next(prng),
                    (uint16_t)(*clients_made)++, clients->keys[kind], clients->key_counts[kind]);
    }
}

struct clients *clients_alloc(const struct clients_options *options, struct world_watch *watch)
{
    struct clients *clients = calloc(1, sizeof(*clients));
    CHECK(clients != NULL);
    clients->options = *options;
    clients->history.lww = options->lww;
    clients->history.skew_ns = options->skew_ns;
    clients->history.n = options->levels > 0 ? options->n : 0;
    clients->history.all_homes = options->w == options->n && options->quorum == 0;
    clients->nodes = UINT32_MAX;
    prng_init(&clients->prng, options->seed ^ 0x5e5510);
    deal_keys(clients);
    clients->session_count = options->sessions;
    clients->sessions = calloc(options->sessions + 1, sizeof(*clients->sessions));
    CHECK(clients->sessions != NULL);
    uint32_t made = 0;
    for (uint32_t i = 0; i < options->sessions; i++) make_session(clients, &clients->sessions[i], &made);
    struct session *sweeper = &clients->sessions[options->sessions];
    *sweeper = (struct session){.clients = clients, .lane_count = SWEEP_LANES};
    sweeper->lanes = calloc(SWEEP_LANES, sizeof(*sweeper->lanes));
    CHECK(sweeper->lanes != NULL);
    for (uint32_t i = 0; i < SWEEP_LANES; i++) sweeper->lanes[i].client.number = (uint16_t)made++;
    watch->context = clients;
    watch->answer = answer;
    watch->closed = closed;
    return clients;
}

static void free_lane(struct lane *lane)
{
    if (lane->client.known != NULL) client_fini(&lane->client);
    token_list_fini(&lane->ask.elements);
    token_list_fini(&lane->heard.seen);
    token_list_fini(&lane->heard.elements);
    buffer_fini(&lane->heard.sealed);
    buffer_fini(&lane->value);
}

void clients_free(struct clients *clients)
{
    for (uint32_t i = 0; i <= clients->session_count; i++) {
        struct session *session = &clients->sessions[i];
        for (uint32_t lane = 0; lane < session->lane_count; lane++) free_lane(&session->lanes[lane]);
        free(session->lanes);
    }
    for (uint32_t i = 0; i < CLIENT_KINDS; i++) free(clients->keys[i]);
    free(clients->contents);
    free(clients->sessions);
    free(clients->session_of);
    history_fini(&clients->history);
    free(clients);
}

void clients_keep_to(struct clients *clients, uint32_t nodes)
{
    clients->nodes = nodes;
}

void clients_expect(struct clients *clients, bool success)
{
    uint64_t now_ns = world_now(clients->world);
    if (!success) {
        clients->duties[clients->duty_count - 1].until_ns = now_ns;
        return;
    }
    CHECK(clients->duty_count < CLIENTS_DUTIES_MAX);
    clients->duties[clients->duty_count++] = (struct duty){now_ns, UINT64_MAX, clients->nodes};
}

void clients_stop(struct clients *clients, bool stop)
{
    clients->stopped = stop;
    for (uint32_t i = 0; i < clients->session_count && !stop; i++) {
        struct session *session = &clients->sessions[i];
        if (!session->busy && !session->resting) rest(session);
    }
}

bool clients_are_idle(const struct clients *clients)
{
    for (uint32_t i = 0; i <= clients->session_count; i++)
        if (clients->sessions[i].busy) return false;
    return true;
}

const char *clients_fault(const struct clients *clients)
{
    return clients->verdict.why;
}

uint64_t clients_operations(const struct clients *clients)
{
    return clients->operations;
}

const struct history *clients_history(const struct clients *clients)
{
    return &clients->history;
}

uint64_t clients_judged(const struct clients *clients, enum clients_judged what)
{
    return clients->judged[what];
}

const char *clients_judged_name(enum clients_judged what)
{
    static const char *const names[CLIENTS_JUDGED] = {
        [CLIENTS_COPIES] = "copies",
        [CLIENTS_COPIES_SOME] = "copies-beside-lost",
        [CLIENTS_COPIES_CORE] = "copies-core",
        [CLIENTS_TREES] = "trees",
        [CLIENTS_REGISTER] = "register",
        [CLIENTS_SESSION] = "session",
        [CLIENTS_MERGE] = "merge",
        [CLIENTS_CHAIN] = "chain",
        [CLIENTS_CONDITION] = "condition",
        [CLIENTS_GONE] = "gone",
    };
    return names[what];
}
