/* Blank: how a store finds out that it is the first of its shard.
 *
 * A store that says nothing of itself is empty, and nobody can tell from that whether the cluster is new or
 * its directory was lost; ids in configurations, and whatever else a node is told when it starts, are the
 * same in both cases. The others can tell. So every store begins with none of its copies filled (copies.h),
 * and asks all shards of all other members what they hold:
 *
 *      AskBlank, shard 0 of each member --> Blank: nothing at all, and I have so many shards
 *      AskBlank, shard 1 ...            --> ...
 *
 * Who holds nothing can tell nothing, so that answer is worth the exchanges of all vnodes at once. When all
 * members have said so, there is nothing that could have been lost: the copies count, those of tables that
 * nobody has made yet too, and from then on (Born, kept in the store). If one holds something, or does not
 * come, copies are filled one by one as after any loss: FILL in antientropy.h. That begins at once in the
 * first case, and after BLANK_PATIENCE_NS in the second.
 *
 * So a member that was never started keeps others' copies from counting, like a dead one: what it would have
 * to tell is not known. And a new cluster's copies count as soon as all its members have met. */
#include <stdlib.h>

#include "actors/antientropy_state.h"

static const uint64_t ms = 1000000;

enum { ASK_MS = 250 };

/* A member, and how far it has said that it holds nothing. */
struct blank_peer {
    uint64_t node;
    uint32_t shard; /* the next to be asked */
    bool blank;     /* all were */
};

static struct blank_peer *peer_of(struct blank *blank, uint64_t node)
{
    for (uint32_t i = 0; i < blank->peer_count; i++)
        if (blank->peers[i].node == node) return &blank->peers[i];
    blank->peers = realloc(blank->peers, (blank->peer_count + 1) * sizeof(*blank->peers));
    CHECK(blank->peers != NULL);
    blank->peers[blank->peer_count] = (struct blank_peer){.node = node};
    return &blank->peers[blank->peer_count++];
}

bool blank_is_open(const struct antientropy *self)
{
    return !self->copies->born && !self->blank.over && self->options.pass_ns != 0;
}

bool blank_may_come(const struct antientropy *self, const struct turn *turn)
{
    return blank_is_open(self) && turn->now_ns < self->blank.patience_ns;
}

static void ask(struct antientropy *self, struct turn *turn, const struct blank_peer *peer)
{
    Dynode__Peer__AskBlank *message = ARENA_NEW(turn->arena, Dynode__Peer__AskBlank);
    dynode__peer__ask_blank__init(message);
    struct address to = {.node = peer->node, .shard = peer->shard};
    if (!turn_reaches(turn, to)) return;
    antientropy_send(self, turn, to, self->blank.id, DYNODE__PEER__MESSAGE__BODY_ASK_BLANK, &message->base);
}

void blank_ask(struct antientropy *self, struct turn *turn, uint64_t node)
{
    if (!blank_is_open(self) || node == turn->self.node) return;
    const struct blank_peer *peer = peer_of(&self->blank, node);
    if (!peer->blank) ask(self, turn, peer);
}

/* A node that knows nobody is told nothing: whoever comes may hold what it has lost. */
static void be_born(struct antientropy *self, struct turn *turn)
{
    const struct cluster *cluster = turn->cluster;
    if (cluster->member_count < 2) return;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct member *member = &cluster->members[i];
        bool given_up = member_is_given_up(member) && !peers_reachable(turn->peers, member->id);
        if (member->id != turn->self.node && !peer_of(&self->blank, member->id)->blank && !given_up) return;
    }
    Dynode__Peer__Born *message = ARENA_NEW(turn->arena, Dynode__Peer__Born);
    dynode__peer__born__init(message);
    turn_send(turn, turn->self, 0, DYNODE__PEER__MESSAGE__BODY_BORN, message);
}

void blank_step(struct antientropy *self, struct turn *turn)
{
    struct blank *blank = &self->blank;
    if (!blank_is_open(self)) return;
    if (blank->patience_ns == 0) blank->patience_ns = turn->now_ns + BLANK_PATIENCE_NS;
    if (turn->now_ns >= blank->next_ns) {
        for (uint32_t i = 0; i < turn->cluster->member_count; i++)
            blank_ask(self, turn, turn->cluster->members[i].id);
        be_born(self, turn); /* once more, if the disk was full */
        blank->next_ns = turn->now_ns + ASK_MS * ms;
    }
    antientropy_wake(self, turn, blank->next_ns);
}

void blank_answered(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__Blank *answer = mail->body;
    struct blank *blank = &self->blank;
    /* What was said to a former life of ours is older than what that has lost. */
    if (!blank_is_open(self) || mail->request != blank->id) return;
    if (!answer->blank) {
        blank->over = true;
        self->fill.next_ns = 0;
        antientropy_wake(self, turn, turn->now_ns);
        return;
    }
    if (cluster_find_member(turn->cluster, mail->from.node) == NULL || mail->from.node == turn->self.node)
        return;
    struct blank_peer *peer = peer_of(blank, mail->from.node);
    if (peer->blank || mail->from.shard != peer->shard || mail->from.shard >= answer->shards) return;
    peer->shard++;
    peer->blank = peer->shard == answer->shards;
    if (peer->blank)
        be_born(self, turn);
    else
        ask(self, turn, peer);
}

/* --- the other side --- */

static bool note(void *context, struct bytes key, struct bytes value)
{
    (void)key, (void)value;
    *(bool *)context = true;
    return false;
}

/* Whatever an exchange would bring of ours must be looked at here: objects, and what was reaped, or an old
 * write that the other is brought later would be taken for a new one. */
void blank_answer(struct antientropy *self, struct turn *turn, const struct mail *mail)
{
    bool any = false;
    if (store_scan(turn->store, STORE_OBJECTS, bytes_of(NULL, 0), bytes_of(NULL, 0), note, &any) !=
        STATUS_OK) {
        turn->store_broken = true;
        return;
    }
    Dynode__Peer__Blank *answer = ARENA_NEW(turn->arena, Dynode__Peer__Blank);
    dynode__peer__blank__init(answer);
    answer->blank = !any && !copies_have_reaped(self->copies);
    answer->shards = turn->shards;
    antientropy_serve(self, turn, 0, &answer->base);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_BLANK, answer);
}

void blank_fini(struct blank *blank)
{
    free(blank->peers);
}
