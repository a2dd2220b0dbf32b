/* Faults: what breaks a world at random during the safety phase, and what heals it afterwards.
 *
 * Each kind of fault has its own rate (options.h) and strikes by itself, so that any number of them meet. A
 * fault that lasts ends after a drawn time. So many nodes at most lose what is on their disks as the quorums
 * can bear (lost_max): a run must be able to end well. */
#pragma once

#include "world/options.h"

struct faults {
    struct world *world;
    const struct options *options;
    bool stopped;
    int64_t jumped_ms[FAULTS_NODES_MAX];
    uint32_t lost;   /* nodes, as bits, of which a disk was wiped, rots, or fails once it is used */
    uint32_t rotten; /* of which one does rot */
};

/* Begin; both are borrowed. */
void faults_start(struct faults *faults, struct world *world, const struct options *options);

/* No new ones; those under way stay as they are. */
void faults_stop(struct faults *faults);

/* What befell the nodes of @nodes (bits), and the ways among them, is over. */
void faults_heal(struct faults *faults, uint32_t nodes);

/* Draw the nodes of a core, as bits: of every key's homes so many are among them, with all their data, that
 * reads, writes and conditional writes have their quorum. */
uint32_t faults_draw_core(struct faults *faults);

/* Crash every node that is not of @core, or cut it off from everybody. */
void faults_cut_off(struct faults *faults, uint32_t core);
