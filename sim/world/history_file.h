/* History files: what clients of real processes asked and heard, written down by whoever drove them
 * (sim/chaos), so that the checkers of the simulated worlds judge it too.
 *
 * Text, a line for each thing, fields between single spaces, numbers in decimal, times in nanoseconds of one
 * clock. Lists are numbers with commas between them, or `-` where there is none. Lines after the first may
 * come in any order, but for the last.
 *
 *      dynode-history 1
 *      table RULE N R W STRICT SKEW          siblings or lww; STRICT 1: reads that are not weak see all
 * writes that are not weak (R + W > N, no stand-ins); nodes' clocks differ by at most SKEW key KEY CONTENT
 * cart or counter; a key without a line is plain op TOKEN KIND OUTCOME STATUS FLAGS SESSION NODE KEY INVOKED
 * ENDED DEADLINE TTL COVERS ELEMENTS SEEN written TOKEN MS                      an answer said when that
 * write was stamped damage TOKEN WHAT                     an answer to that operation held bytes that nobody
 * wrote final KEY NODE WHOLE SEEN             what the key holds in the end, by that node; WHOLE 1: all homes
 *                                            were asked
 *      copy KEY NODE HOME DIGEST             what that node's store holds, all copies of a key together; HOME
 *                                            1: it is a home; DIGEST 0: it has nothing
 *      end COUNT                             of operations: a file without it was cut short
 *
 * TOKEN is 1 to COUNT, in the order of the beginnings. KIND is get, put or delete; OUTCOME ok, fail
 * (certainly not applied) or info. STATUS is the number of the last answer's. FLAGS are letters, or `-`:
 *
 *      b  blind        c  if-context    a  if-absent    r  repeated
 *      w  weak         f  floor         x  rejected     l  lost
 *
 * What the words mean is in history.h. */
#pragma once

#include <stdio.h>

#include "world/checker.h"

struct history_file {
    struct history history;
    enum content *contents; /* by key */
    struct copy *copies;
    uint32_t copy_count, n, r, w;
    bool strict;
    char damage[200]; /* the first; empty: none */
};

/* Read it to its end. False: *out is empty, and @why says which line is wrong and how. */
bool history_file_read(FILE *from, struct history_file *out, char why[256]);

void history_file_fini(struct history_file *file);
