/* Coordinate: what the three parts of a coordinator know of one another. coordinator.c takes an operation,
 * and whatever happens to it from outside; coordinate_read.c asks homes what they hold; coordinate_write.c
 * mints and lets homes merge. Each function may end the slot: it is not to be used after it, unless its id is
 * still the same. */
#pragma once

#include "actors/coordinator.h"
#include "actors/governor.h"
#include "actors/repeats.h"
#include "actors/slot.h"
#include "actors/speculation.h"

struct coordinator {
    struct actor actor;
    struct context_secret secret;
    struct slots slots;
    struct repeats repeats; /* of writes that other nodes sent here */
    struct speculation speculation;
    struct governor *governor;
};

/* --- coordinator.c --- */

extern const char coordinate_too_much[]; /* what OVERLOADED says */

/* The slot that an answer belongs to, the position of its sender, and whether that one stands in for the home
 * there. NULL: the slot has ended, or the sender has no position in it. */
struct slot *coordinate_slot_of(const struct coordinator *coordinator, const struct mail *mail,
                                uint32_t *position, bool *stand_in);

/* Set the gauges of the slots. */
void coordinate_count(const struct coordinator *coordinator, struct turn *turn);

/* Answer. */
void coordinate_answer(struct turn *turn, const struct slot *slot, Dynode__Client__Result *result);

/* End the slot. If its write was minted, and a home goes without it and without a hint, its vnode is marked
 * dirty.
 */
void coordinate_end(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* Both. */
void coordinate_finish(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                       Dynode__Client__Result *result);

/* What to say of a quorum of @needed that can't be had, before a mint: OVERLOADED if enough homes could be
 * reached, but have too much to do. */
enum status coordinate_shortage(const struct turn *turn, const struct slot *slot, uint32_t needed);

/* Answer that the quorum was not reached: @status is UNAVAILABLE or TIMEOUT, or what the store said. @why may
 * be NULL. */
void coordinate_fall_short(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           enum status status, const char *why);

/* A mint is on its way to the homes: look after COORDINATOR_STAND_IN_NS which of them are silent. */
void coordinate_await_homes(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* Arm the deadline's timer anew, for @at_ns or the deadline. */
void coordinate_arm_deadline(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                             uint64_t at_ns);

/* A write begins, or begins again after it has waited: the slot's put core has its w. */
void coordinate_begin_writing(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                              Dynode__Peer__Mint *request);

/* A read begins: look after a while whether the homes that are asked now are slow (speculation.h). */
void coordinate_begin_reading(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* The positions that have answered so far and count, as bits. */
uint32_t slot_answered(const struct slot *slot);

/* Our copy can't be read, and what is minted over it takes its place: so many others must have told what they
 * hold, or what was acknowledged with the help of that copy could be missed by who reads it and them. How
 * many homes this write waits for says nothing of those before it. */
uint32_t slot_rest_of_damaged(const struct slot *slot);

/* Add the receipt: who has answered. */
void slot_add_receipt(const struct slot *slot, Dynode__Client__Result *result, struct arena *arena);

Dynode__Peer__Place *slot_place(const struct slot *slot, struct arena *arena);
struct address slot_home_address(const struct slot *slot, uint32_t home);

/* The next node of the preference list after the homes that can be reached and has no position yet: it is
 * given
 * @position. False: there is none. */
bool slot_take_stand_in(struct turn *turn, struct slot *slot, uint32_t position);

/* How many nodes could stand in now, or do. */
uint32_t slot_stand_ins_left(const struct turn *turn, const struct slot *slot);

/* --- coordinate_read.c --- */

void slot_ask(struct turn *turn, struct slot *slot, uint32_t home, bool digest);

/* The homes that were asked first are slow: ask one more, if that is allowed. Without one they keep their
 * chance. */
void coordinate_speculate(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* Of homes that were asked first, and did not answer yet, none is needed any more. */
void coordinate_measure_rest(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* A home, or who stood in for it, can't be reached any more. */
void coordinate_read_lost(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                          uint32_t position, bool stand_in);

/* Go on as far as the answers allow. */
void coordinate_step_reading(struct coordinator *coordinator, struct turn *turn, struct slot *slot);
void coordinate_read_answered(struct coordinator *coordinator, struct turn *turn, const struct mail *mail);

/* --- coordinate_wait.c --- */

/* Too few nodes can be reached for this write: is there time to wait, and anybody to wait for? */
bool coordinate_may_wait(const struct turn *turn, const struct slot *slot);

/* Wait: before the mint, which is kept, or for votes. */
void coordinate_wait(struct coordinator *coordinator, struct turn *turn, struct slot *slot);

/* A node can be reached again, and this slot waits. */
void coordinate_peer_back(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                          uint64_t node);

/* --- coordinate_write.c --- */

/* Let our replica mint. It answers within this turn (Minted), so that @message may be looked at again until
 * then. */
void slot_mint(struct turn *turn, struct slot *slot, Dynode__Peer__Mint *message);

/* Keep a Mint beyond this turn, while other homes are read; and when enough have told what they hold, mint on
 * top of that. */
void slot_keep_mint(struct slots *slots, struct slot *slot, const Dynode__Peer__Mint *message);
void slot_mint_on_others(struct turn *turn, struct slot *slot);

/* Read @needed homes before minting, our own copy among them: it counts only if it is readable and filled. */
void coordinate_read_first(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           uint32_t needed);

/* Send what was minted to the home of @position, or to who stands in for it. */
void coordinate_send_merge(struct turn *turn, struct slot *slot, uint32_t position, bool stand_in);

/* A write of this node, which is no home, ends while some positions have nobody, for there were too few to
 * stand in. Its own replica, which has the object for another home, keeps it for those homes too: no quorum
 * counts that, but all of them get it when they return. (A home marks the vnode dirty instead.) */
void coordinate_keep_missing(struct turn *turn, struct slot *slot);

/* As coordinate_read_lost, coordinate_step_reading and coordinate_read_answered, for a write. */
void coordinate_write_lost(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                           uint32_t position, bool stand_in);
void coordinate_step_writing(struct coordinator *coordinator, struct turn *turn, struct slot *slot);
void coordinate_minted(struct coordinator *coordinator, struct turn *turn, const struct mail *mail);
void coordinate_merged(struct coordinator *coordinator, struct turn *turn, const struct mail *mail);
