/* What there is to compare: vnodes that are dirty, unfilled or wait for reaping go first, then a pass over
 * all roots finds those that differ. Each becomes a job, and each job an exchange (exchange.c). */
#include "actors/antientropy_state.h"

static const uint64_t ms = 1000000;

static void add_job(struct jobs *jobs, struct job job)
{
    CHECK(jobs->count < JOBS_MAX);
    jobs->list[(jobs->first + jobs->count++) % JOBS_MAX] = job;
}

struct job jobs_take(struct jobs *jobs)
{
    struct job job = jobs->list[jobs->first];
    jobs->first = (jobs->first + 1) % JOBS_MAX;
    jobs->count--;
    return job;
}

static bool is_under_way(const struct antientropy *self, const struct job *job)
{
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++) {
        const struct exchange *exchange = &self->exchanges[i];
        if (exchange->phase != EXCHANGE_FREE && exchange->node == job->node &&
            exchange->vnode == job->vnode && exchange->n == job->n)
            return true;
    }
    return false;
}

struct exchange *jobs_place(struct antientropy *self, const struct turn *turn)
{
    for (uint32_t i = 0; i < ANTIENTROPY_EXCHANGES; i++)
        if (self->exchanges[i].phase == EXCHANGE_FREE && self->exchanges[i].rest_ns <= turn->now_ns)
            return &self->exchanges[i];
    return NULL;
}

/* Is there anything to be had from it? */
bool jobs_is_worth(const struct antientropy *self, const struct turn *turn, const struct job *job)
{
    return !is_under_way(self, job) && (!antientropy_is_refused(self, turn, job->node) ||
                                        copies_waits_for(self->copies, job->vnode, job->n, job->node));
}

/* May a dirty vnode be looked at now? If not, self->dirty_ns knows when to ask again. */
static bool dirty_is_due(struct antientropy *self, const struct turn *turn, uint32_t vnode)
{
    uint64_t due_ns = self->dirty_after_ns[vnode];
    if (!self->dirty[vnode]) return false;
    if (!forest_is_built(self->forest, vnode)) due_ns = turn->now_ns + ANTIENTROPY_DIRTY_NS;
    if (due_ns <= turn->now_ns) return true;
    if (self->dirty_ns > due_ns) self->dirty_ns = due_ns;
    return false;
}

/* A dirty vnode is compared with all its other homes that can be reached, whoever's turn it is. While a home
 * is away, or its disk is full, each write marks the vnode again: that must not cost an exchange a write. */
bool jobs_look_for_dirty(struct antientropy *self, struct turn *turn)
{
    uint32_t vnodes = turn->cluster->vnodes;
    if (self->dirty_count == 0 || self->jobs.count > 0 || turn->now_ns < self->dirty_ns) return false;
    self->dirty_ns = UINT64_MAX;
    for (uint32_t i = 0; i < vnodes; i++) {
        uint32_t vnode = (self->dirty_next + i) % vnodes;
        if (!dirty_is_due(self, turn, vnode)) continue;
        self->dirty[vnode] = false;
        self->dirty_after_ns[vnode] = turn->now_ns + ANTIENTROPY_DIRTY_NS;
        self->dirty_count--;
        self->dirty_next = vnode + 1;
        self->dirty_ns = 0; /* there may be more */
        const uint64_t *list = ring_preference_list(turn->ring, vnode);
        for (uint32_t n = 2; n <= FOREST_N_MAX; n++) {
            if ((self->ns >> n & 1) == 0 || !ring_is_home(turn->ring, vnode, n, turn->self.node)) continue;
            for (uint32_t home = 0; home < n; home++)
                if (list[home] != turn->self.node && peers_reachable(turn->peers, list[home]))
                    add_job(&self->jobs, (struct job){.node = list[home], .vnode = vnode, .n = n});
        }
        return true;
    }
    return false;
}

/* --- fills --- */

/* The copy waits for homes alone that are given up: the replica is told to look. */
static void pass_over_lost(struct turn *turn, uint32_t vnode, uint32_t n)
{
    Dynode__Peer__Exchanged *message = ARENA_NEW(turn->arena, Dynode__Peer__Exchanged);
    dynode__peer__exchanged__init(message);
    message->vnode = vnode;
    message->n = n;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_EXCHANGED, message);
}

/* The homes that the vnode's copies wait for and that can be reached. */
static void expand_unfilled(struct antientropy *self, struct turn *turn, uint32_t vnode)
{
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    for (uint32_t n = 2; n <= FOREST_N_MAX; n++) {
        if ((self->ns >> n & 1) == 0 || !ring_is_home(turn->ring, vnode, n, turn->self.node)) continue;
        bool filled = copies_is_filled(self->copies, vnode, n), waits = false;
        for (uint32_t home = 0; home < n && !filled; home++) {
            if (list[home] == turn->self.node || !copies_waits_for(self->copies, vnode, n, list[home]))
                continue;
            const struct member *member = cluster_find_member(turn->cluster, list[home]);
            if (peers_reachable(turn->peers, list[home]))
                add_job(&self->jobs, (struct job){.node = list[home], .vnode = vnode, .n = n});
            else if (member != NULL && member_is_given_up(member))
                continue;
            waits = true;
        }
        if (!filled && !waits) pass_over_lost(turn, vnode, n);
    }
}

bool jobs_look_for_unfilled(struct antientropy *self, struct turn *turn)
{
    struct fill *fill = &self->fill;
    if (self->copies->born || self->jobs.count > 0 || turn->now_ns < fill->next_ns) return false;
    if (blank_may_come(self, turn)) return false;
    for (; fill->vnode < turn->cluster->vnodes && self->jobs.count == 0; fill->vnode += turn->shards)
        if (forest_is_built(self->forest, fill->vnode)) expand_unfilled(self, turn, fill->vnode);
    if (self->jobs.count > 0) return true;
    fill->vnode = turn->self.shard;
    fill->next_ns = turn->now_ns + self->options.pass_ns / 8;
    return false;
}

/* --- passes --- */

/* Of two homes, the one that begins. */
static bool is_ours_to_begin(const struct turn *turn, uint32_t vnode, uint64_t peer)
{
    return (vnode % 2 == 0) == (turn->self.node < peer);
}

/* --- reaping --- */

static void tell_reap(struct turn *turn, bool due, uint32_t vnode)
{
    Dynode__Peer__ReapOn *message = ARENA_NEW(turn->arena, Dynode__Peer__ReapOn);
    dynode__peer__reap_on__init(message);
    message->due = due;
    message->vnode = vnode;
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_REAP_ON, message);
}

/* Do we share the vnode with homes all of which can be reached? */
static bool may_reap(const struct antientropy *self, const struct turn *turn, uint32_t vnode, uint32_t n)
{
    if ((self->ns >> n & 1) == 0 || !ring_is_home(turn->ring, vnode, n, turn->self.node)) return false;
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    for (uint32_t home = 0; home < n; home++)
        if (list[home] != turn->self.node && !peers_reachable(turn->peers, list[home])) return false;
    return true;
}

static bool may_reap_any(const struct antientropy *self, const struct turn *turn, uint32_t vnode)
{
    bool any = false;
    for (uint32_t n = 1; n <= FOREST_N_MAX && !any; n++) any = may_reap(self, turn, vnode, n);
    return any && reap_waits(self->reap, vnode, turn->wall_ms) && forest_is_built(self->forest, vnode);
}

/* A vnode with something that may go: its homes have to know what each has seen. */
static void expand_reaping(struct antientropy *self, struct turn *turn, uint32_t vnode)
{
    const uint64_t *list = ring_preference_list(turn->ring, vnode);
    tell_reap(turn, true, vnode);
    for (uint32_t n = 2; n <= FOREST_N_MAX; n++) {
        if (!may_reap(self, turn, vnode, n)) continue;
        for (uint32_t home = 0; home < n; home++)
            if (list[home] != turn->self.node && is_ours_to_begin(turn, vnode, list[home]))
                add_job(&self->jobs, (struct job){.node = list[home], .vnode = vnode, .n = n});
    }
}

/* Is it not its turn? */
static bool rests(struct antientropy *self, uint32_t vnode)
{
    struct reap_rest *rest = &self->reaping.rests[vnode];
    if (rest->moves != self->reap->moves[vnode])
        *rest = (struct reap_rest){.moves = self->reap->moves[vnode]};
    if (rest->left > 0) {
        rest->left--;
        return true;
    }
    uint32_t left = (1U << rest->looks / ANTIENTROPY_REAP_LOOKS) - 1;
    if (left < ANTIENTROPY_REAP_REST_MAX) rest->looks++;
    rest->left = (uint8_t)left;
    return false;
}

bool jobs_look_for_reaping(struct antientropy *self, struct turn *turn)
{
    struct reaping *reaping = &self->reaping;
    if (!self->reap->on || self->reap->count == 0 || self->jobs.count > 0 || turn->now_ns < reaping->next_ns)
        return false;
    for (; reaping->vnode < turn->cluster->vnodes && self->jobs.count == 0; reaping->vnode += turn->shards)
        if (may_reap_any(self, turn, reaping->vnode) && !rests(self, reaping->vnode))
            expand_reaping(self, turn, reaping->vnode);
    if (self->jobs.count > 0) return true;
    reaping->vnode = turn->self.shard;
    reaping->next_ns = turn->now_ns + self->options.pass_ns;
    return false;
}

bool jobs_has_due(const struct antientropy *self)
{
    return self->reap->due_count > 0 || self->reap->after.size > 0;
}

void jobs_step_reaping(struct antientropy *self, struct turn *turn)
{
    struct reaping *reaping = &self->reaping;
    governor_spend(self->governor, self->reap->read_bytes - reaping->spent, 1);
    reaping->spent = self->reap->read_bytes;
    reaping->step_ns = turn->now_ns + ms;
    tell_reap(turn, false, 0);
}

/* The next member after pass.node that can be reached; NULL: the end. */
static const struct member *next_peer(const struct pass *pass, const struct turn *turn)
{
    for (uint32_t i = 0; i < turn->cluster->member_count; i++) {
        const struct member *member = &turn->cluster->members[i];
        if (member->id > pass->node && member->id != turn->self.node && member->shards > 0 &&
            peers_reachable(turn->peers, member->id))
            return member;
    }
    return NULL;
}

/* Go on in the list of vnodes of one peer's shard, and gather those whose roots are to be compared. */
static void gather(struct antientropy *self, const struct turn *turn, uint32_t peer_shards,
                   Dynode__Peer__TreeRoots *roots)
{
    struct pass *pass = &self->pass;
    for (; pass->vnode < turn->cluster->vnodes; pass->vnode += turn->shards) {
        uint32_t vnode = pass->vnode;
        if (vnode % peer_shards != pass->group || !is_ours_to_begin(turn, vnode, pass->node)) continue;
        if (!forest_is_built(self->forest, vnode)) {
            pass->open++;
            continue;
        }
        if (pass->count + FOREST_N_MAX > ANTIENTROPY_ROOTS) return;
        for (uint32_t n = 2; n <= FOREST_N_MAX; n++) {
            if ((self->ns >> n & 1) == 0 || !ring_is_home(turn->ring, vnode, n, turn->self.node) ||
                !ring_is_home(turn->ring, vnode, n, pass->node))
                continue;
            pass->unsure[pass->count] = antientropy_is_unsure(self, vnode);
            if (pass->unsure[pass->count]) roots->unsure[roots->n_unsure++] = pass->count;
            pass->asked[pass->count++] = (struct job){.node = pass->node, .vnode = vnode, .n = n};
            roots->vnodes[roots->n_vnodes++] = vnode;
            roots->ns[roots->n_ns++] = n;
            roots->roots[roots->n_roots++] = forest_root(self->forest, vnode, n);
        }
    }
}

static void end_pass(struct antientropy *self, struct turn *turn)
{
    struct pass *pass = &self->pass;
    pass->under_way = false;
    /* Where something differed something may still differ. */
    pass->next_ns = turn->now_ns + (pass->open > 0 ? self->options.pass_ns / 8 : self->options.pass_ns);
}

/* Ask for the next roots, or end the pass. */
void jobs_step_pass(struct antientropy *self, struct turn *turn)
{
    struct pass *pass = &self->pass;
    Dynode__Peer__TreeRoots *roots = ARENA_NEW(turn->arena, Dynode__Peer__TreeRoots);
    dynode__peer__tree_roots__init(roots);
    roots->vnodes = ARENA_ARRAY(turn->arena, uint32_t, ANTIENTROPY_ROOTS);
    roots->ns = ARENA_ARRAY(turn->arena, uint32_t, ANTIENTROPY_ROOTS);
    roots->roots = ARENA_ARRAY(turn->arena, uint64_t, ANTIENTROPY_ROOTS);
    roots->unsure = ARENA_ARRAY(turn->arena, uint32_t, ANTIENTROPY_ROOTS);
    if (!pass->under_way) {
        *pass = (struct pass){.under_way = true, .group = UINT32_MAX, .vnode = UINT32_MAX};
    }
    pass->count = 0;
    const struct member *peer = cluster_find_member(turn->cluster, pass->node);
    while (pass->count == 0) {
        bool more = peer != NULL && peer->shards > 0 && peers_reachable(turn->peers, peer->id);
        if (more && pass->vnode >= turn->cluster->vnodes) {
            pass->group++;
            pass->vnode = turn->self.shard;
            more = pass->group < peer->shards;
        }
        if (!more) {
            peer = next_peer(pass, turn);
            if (peer == NULL) {
                end_pass(self, turn);
                return;
            }
            pass->node = peer->id;
            pass->group = 0;
            pass->vnode = turn->self.shard;
        }
        gather(self, turn, peer->shards, roots);
    }
    struct address to = {.node = pass->node, .shard = pass->group};
    pass->waits = true;
    pass->asked_ns = turn->now_ns;
    antientropy_expect(self, turn, PLACE_ROOTS, &pass->id, &pass->timer);
    antientropy_send(self, turn, to, pass->id, DYNODE__PEER__MESSAGE__BODY_TREE_ROOTS, &roots->base);
}

/* Those of which the answer says nothing were equal. */
static void note_equal(struct antientropy *self, const struct turn *turn,
                       const Dynode__Peer__TreeRootsAnswer *answer)
{
    const struct pass *pass = &self->pass;
    size_t differing = 0, unproven = 0;
    for (uint32_t place = 0; place < pass->count; place++) {
        const struct job *job = &pass->asked[place];
        bool equal = !pass->unsure[place];
        if (differing < answer->n_differing && answer->differing[differing] == place)
            differing++, equal = false;
        if (unproven < answer->n_unproven && answer->unproven[unproven] == place) unproven++, equal = false;
        if (equal) antientropy_note_equal(self, turn, job->vnode, job->n, job->node, pass->asked_ns);
    }
}

void jobs_roots_answered(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    struct pass *pass = &self->pass;
    const Dynode__Peer__TreeRootsAnswer *answer = mail->body;
    turn_disarm(turn, pass->timer);
    pass->waits = false;
    if (!antientropy_rises(answer->differing, answer->n_differing, pass->count) ||
        !antientropy_rises(answer->unproven, answer->n_unproven, pass->count)) {
        turn->counters->invalid++;
        return;
    }
    note_equal(self, turn, answer);
    for (size_t i = 0; i < answer->n_differing; i++) {
        uint32_t place = answer->differing[i];
        if (self->jobs.count < JOBS_MAX) add_job(&self->jobs, pass->asked[place]);
        if (!antientropy_is_refused(self, turn, pass->node)) pass->open++;
    }
    if (answer->unbuilt > 0) pass->open++;
}
