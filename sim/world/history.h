/* History: what clients asked and heard, and what must be true of it (RELIABILITY.md).
 *
 * Every operation gets a token; the value of a put names its token, so that a read tells which writes it saw.
 * A write made with the context of an answer *covers* the tokens of that answer; covers* is the transitive
 * closure. A write whose outcome is unknown (INFO) may take effect at any time, or never. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_kind { OP_GET, OP_PUT, OP_DELETE };
enum outcome { OUTCOME_INFO, OUTCOME_OK, OUTCOME_FAIL }; /* FAIL: certainly not applied */

struct tokens {
    uint32_t *list;
    uint32_t count;
};

struct op {
    enum op_kind kind;
    uint32_t key;
    uint64_t invoked_ns, returned_ns; /* returned: UINT64_MAX while unknown */
    enum outcome outcome;
    bool blind;           /* a delete without context: covers what its coordinator holds */
    struct tokens covers; /* PUT, DELETE */
    struct tokens seen;   /* GET */
};

struct history {
    struct op *ops; /* a token is the place + 1 */
    uint32_t count, capacity;
    bool lww;
    uint8_t *marks; /* scratch, by place */
};

void history_fini(struct history *history);

/* An operation begins; its token. */
uint32_t history_invoke(struct history *history, enum op_kind kind, uint32_t key, uint64_t now_ns,
                        const struct tokens *covers, bool blind);

/* It ends. @seen is copied; NULL for writes. */
void history_return(struct history *history, uint32_t token, enum outcome outcome, uint64_t now_ns,
                    const struct tokens *seen);

/* Every read: its tokens are of writes to that key that had begun and may have happened, and none covers
 * another. With @strict (R + W > N) also the regular register: it returns every write acknowledged before it
 * began, or what covers it, and nothing that such a write covers. False: *why tells of the first fault. */
bool history_check_reads(struct history *history, bool strict, char *why, size_t why_bytes);

/* No acknowledged write is lost: @seen is what @key holds in the end. */
bool history_check_final(struct history *history, uint32_t key, const struct tokens *seen, char *why,
                         size_t why_bytes);

bool tokens_have(const struct tokens *tokens, uint32_t token);
void tokens_add(struct tokens *tokens, uint32_t token);
void tokens_fini(struct tokens *tokens);
