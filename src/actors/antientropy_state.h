/* What the parts of anti-entropy know of one another. antientropy.c is the actor: whose turn it is;
 * jobs.c what there is to compare; exchange.c and exchange_objects.c one exchange; exchange_page.c a page of
 * leaves, on both sides; antientropy_answer.c what other homes ask; audit.c reads the store through; mend.c
 * fetches what is damaged; blank.c asks whether there ever was anything. */
#pragma once

#include "actors/antientropy.h"
#include "actors/exchange.h"
#include "actors/request_id.h"
#include "actors/table_homes.h"
#include "base/check.h"
#include "base/map.h"
#include "version/object.h"
#include "wire/client_wire.h"
#include "wire/object_wire.h"
#include "wire/unpack.h"

/* The places of request ids after those of exchanges. */
enum { PLACE_ROOTS = ANTIENTROPY_EXCHANGES, PLACE_MEND };

enum { JOBS_MAX = 1024 };

/* A vnode that differs, or may, from what @node has. */
struct job {
    uint64_t node;
    uint32_t vnode, n;
};

struct jobs {
    struct job list[JOBS_MAX]; /* a ring */
    uint32_t first, count;
};

/* One look at all roots. */
struct pass {
    bool under_way;
    uint64_t next_ns; /* when the next begins */
    uint64_t node;    /* the peer that is looked at; 0: before the first */
    uint32_t group;   /* of its shards */
    uint32_t vnode;   /* the next */
    uint32_t open;    /* trees that differed, or are not there yet */

    uint64_t id; /* of the roots that are asked for */
    bool waits;
    uint64_t timer;
    uint32_t count;
    struct job asked[ANTIENTROPY_ROOTS];
    bool unsure[ANTIENTROPY_ROOTS]; /* of those trees when they were asked about ... */
    uint64_t asked_ns;
};

/* A look at all copies, for those that are not filled. */
struct fill {
    uint32_t vnode;   /* the next */
    uint64_t next_ns; /* when the next look begins */
};

/* What is known of the other members, while it is not known whether our store is the first. */
struct blank {
    uint64_t id;          /* of this life's questions */
    bool over;            /* somebody holds something */
    uint64_t next_ns;     /* when all are asked again */
    uint64_t patience_ns; /* until then fills wait */
    struct blank_peer *peers;
    uint32_t peer_count;
};

/* A home that had no room for what was pushed to it. */
struct refusal {
    uint64_t node, until_ns;
};

/* Vnodes of which nothing goes or comes, look after look, are looked at more and more seldom. */
struct reap_rest {
    uint32_t moves; /* of the queue, at the last look: another number begins anew */
    uint8_t looks;  /* since then */
    uint8_t left;   /* rounds that pass without one */
};

/* What the replica may reap. */
struct reaping {
    struct reap_rest *rests; /* by vnode */
    uint32_t vnode;          /* the next to be compared */
    uint64_t next_ns;        /* when the next round begins */
    uint64_t step_ns;        /* when the replica is told to go on */
    size_t spent;            /* of what it has read for that */
};

struct audit {
    uint32_t vnode; /* that is swept, or is next in its turn */
    bool sweeping;  /* one, @swept */
    uint32_t swept;
    bool in_turn;        /* it was its turn; else it is distrusted */
    struct buffer after; /* the last store key visited */
    uint64_t began_ns, next_ns;
    bool built; /* all vnodes have been swept once */
};

/* Damaged copies, the first of which is being fetched. */
struct mend {
    struct buffer keys[ANTIENTROPY_DAMAGED]; /* store keys, a ring */
    uint32_t first, count;
    uint64_t id;
    bool waits;
    uint64_t timer, next_ns;
    uint64_t homes[FOREST_N_MAX]; /* the other ones */
    uint32_t home_count;
    uint32_t heard;       /* of them, as bits */
    uint32_t damaged;     /* of those: theirs can't be read either */
    struct buffer object; /* what they hold together */
};

struct antientropy {
    struct actor actor;
    struct antientropy_options options;
    struct forest *forest;
    struct governor *governor;
    const struct copies *copies;
    struct table_homes homes;
    struct map tables; /* as last looked at: names of tag and n */
    uint32_t ns;       /* the numbers of homes that tables have, as bits */
    bool strangers;    /* an object of a table that is not known here was seen */
    uint32_t generation;
    uint64_t timer, timer_ns;
    bool *dirty;              /* by vnode */
    uint64_t *dirty_after_ns; /* by vnode: not before that */
    uint32_t dirty_count, dirty_next;
    uint64_t dirty_ns; /* before that none of them may be looked at */
    struct jobs jobs;
    struct exchange exchanges[ANTIENTROPY_EXCHANGES];
    struct pass pass;
    struct blank blank;
    struct fill fill;
    const struct reap *reap;
    struct reaping reaping;
    struct proofs *proofs;
    struct refusal *refusals; /* one for each node, once it has refused something */
    uint32_t refusal_count;
    struct audit audit;
    struct mend mend;
};

/* --- antientropy.c --- */

/* Look again at @at_ns at the latest. */
void antientropy_wake(struct antientropy *self, struct turn *turn, uint64_t at_ns);

/* May the vnode's trees lack something that is stored? */
bool antientropy_is_unsure(const struct antientropy *self, uint32_t vnode);

/* The roots of (@vnode, @n) here and at @node were equal at @at_ns, and both sure. */
void antientropy_note_equal(struct antientropy *self, const struct turn *turn, uint32_t vnode, uint32_t n,
                            uint64_t node, uint64_t at_ns);

void antientropy_mark_dirty(struct antientropy *self, struct turn *turn, uint32_t vnode);

/* @node has no room for objects: for a pass's time nothing is pushed to it, and no exchange begun that could
 * push. Only a copy of ours that has to hear what it holds still asks. */
void antientropy_note_refusal(struct antientropy *self, const struct turn *turn, uint64_t node);
bool antientropy_is_refused(const struct antientropy *self, const struct turn *turn, uint64_t node);

/* Send @body, of which the governor hears. */
void antientropy_send(struct antientropy *self, struct turn *turn, struct address to, uint64_t request,
                      Dynode__Peer__Message__BodyCase kind, const ProtobufCMessage *body);

/* How busy the shard is, the governor is told, and how late a timer was. */
void antientropy_observe(struct antientropy *self, const struct turn *turn, uint64_t lag_ns);

/* So much was read for another home, and @answer goes to it. How long is it to rest then, in ms? */
uint32_t antientropy_serve(struct antientropy *self, const struct turn *turn, size_t read_bytes,
                           const ProtobufCMessage *answer);

/* A fresh id of the place, and the timer of its answer. */
void antientropy_expect(struct antientropy *self, struct turn *turn, uint32_t place, uint64_t *id,
                        uint64_t *timer);

/* The store key of a key that belongs to this shard, with what it names; *table may be NULL: not known here.
 * False: it contradicts itself. */
bool antientropy_place(struct antientropy *self, const struct turn *turn, struct bytes store_key,
                       struct store_place *place, const struct table **table);

/* The same, and it must be in the trees of @vnode and @n. */
bool antientropy_place_in(struct antientropy *self, const struct turn *turn, struct bytes store_key,
                          uint32_t vnode, uint32_t n, struct store_place *place, const struct table **table);

/* Read what is stored here. STATUS_NOT_FOUND, STATUS_CORRUPT (noted to be mended) and whatever else is wrong
 * leave *encoded empty. */
enum status antientropy_load(struct antientropy *self, struct turn *turn, struct bytes store_key,
                             struct bytes *encoded);

/* Let our replica join an object with its own; @encoded empty: nothing, which replaces what is damaged, or
 * judges it. */
struct merge_as {
    bool agreed, vouched, judged; /* peer.proto */
};
void antientropy_merge(struct turn *turn, const struct store_place *place, const struct table *table,
                       struct bytes encoded, const struct merge_as *as);

/* Let it hear of what another home has reaped, if it does not know it. */
void antientropy_join_reaped(struct antientropy *self, struct turn *turn, uint32_t vnode, uint32_t n,
                             const struct vv *reaped);

/* --- jobs.c --- */

/* The next, of one or more. */
struct job jobs_take(struct jobs *jobs);

/* Is there anything to be had from it, and is it not under way? */
bool jobs_is_worth(const struct antientropy *self, const struct turn *turn, const struct job *job);

/* An exchange that is free for one. NULL: none is, now. */
struct exchange *jobs_place(struct antientropy *self, const struct turn *turn);

/* Make jobs of what goes before any pass. False: there is nothing now. */
bool jobs_look_for_unfilled(struct antientropy *self, struct turn *turn);
bool jobs_look_for_dirty(struct antientropy *self, struct turn *turn);
bool jobs_look_for_reaping(struct antientropy *self, struct turn *turn);

/* May the replica reap something? Then it is told to go on. */
bool jobs_has_due(const struct antientropy *self);
void jobs_step_reaping(struct antientropy *self, struct turn *turn);

/* Go on in the pass: ask the next peer for the roots of the vnodes that we share. */
void jobs_step_pass(struct antientropy *self, struct turn *turn);
void jobs_roots_answered(struct antientropy *self, struct turn *turn, const struct mail *mail);

/* --- antientropy_answer.c --- */

/* What another home asks. */
void antientropy_answer(struct antientropy *self, struct turn *turn, const struct mail *mail);

/* Do the numbers rise, and stay below @bound? */
bool antientropy_rises(const uint32_t *numbers, size_t count, uint32_t bound);

/* --- blank.c --- */

enum { BLANK_PATIENCE_NS = 2000 * 1000 * 1000 };

/* Ask who has not answered yet, now and then. */
void blank_step(struct antientropy *self, struct turn *turn);
void blank_ask(struct antientropy *self, struct turn *turn, uint64_t node);
void blank_answered(struct antientropy *self, struct turn *turn, const struct mail *mail);

/* Another asks. */
void blank_answer(struct antientropy *self, struct turn *turn, const struct mail *mail);

/* Is it still to be found out? And so soon that a fill need not begin? */
bool blank_is_open(const struct antientropy *self);
bool blank_may_come(const struct antientropy *self, const struct turn *turn);

void blank_fini(struct blank *blank);

/* --- audit.c --- */

void audit_step(struct antientropy *self, struct turn *turn);

/* Something is distrusted, or will be at the end of this turn. */
void audit_soon(struct antientropy *self, struct turn *turn);

/* --- mend.c --- */

/* A copy here can't be read. @swept: a sweep has found it, and sets the trees right. */
void mend_note(struct antientropy *self, struct turn *turn, struct bytes store_key, bool swept);
bool mend_is_ready(const struct antientropy *self, const struct turn *turn);
void mend_step(struct antientropy *self, struct turn *turn);
void mend_answered(struct antientropy *self, struct turn *turn, const struct mail *mail);
void mend_timeout(struct antientropy *self, struct turn *turn);
