/* Client: one simulated client, as a small state machine with a random stream of its own.
 *
 *      next   what it wants to do now       -->  a packed request, over its session's connection
 *      take   what came of it               <--  the answer, or that there is none
 *
 * It knows no world and no time: clients.c sends, waits, repeats and records. Between the two, client_learn
 * keeps for each key the last context and what it stands for, and merges what siblings hold.
 *
 * A put's value says what it is: token, key, and a hash over all of it; then the elements of a cart or the
 * numbers of a counter. So damage shows, and an answer that belongs to another key. */
#pragma once

#include "base/bytes.h"
#include "base/prng.h"
#include "world/checker.h"

enum { VALUE_HEAD_BYTES = 20, CART_ELEMENTS_MAX = 24 };

/* Owned tokens or elements; zeroed is empty. */
struct token_list {
    uint32_t *list;
    uint32_t count, capacity;
};

void token_list_add(struct token_list *tokens, uint32_t token);
void token_list_add_once(struct token_list *tokens, uint32_t token);
void token_list_copy(struct token_list *to, struct tokens from);
void token_list_fini(struct token_list *tokens);

static inline struct tokens tokens_of(const struct token_list *tokens)
{
    return (struct tokens){.list = tokens->list, .count = tokens->count};
}

/* What a client knows of a key: of the last answer that had a context. */
struct known {
    struct buffer context;
    struct token_list tokens, elements; /* what the context stands for, and what it holds, merged */
    bool heard;                         /* the last operation brought it */
};

/* What it wants. */
struct ask {
    enum op_kind kind;
    uint32_t key;
    uint32_t place;    /* the key's place among those of the client's kind */
    uint32_t flags;    /* OP_IF_CONTEXT, OP_IF_ABSENT */
    bool with_context; /* hand back what is known */
    uint64_t ttl_ms;
    uint32_t value_bytes; /* of a put: at least so many */
    struct token_list elements;
};

/* What it is told. */
struct heard {
    bool lost, good; /* good: OK or NOT_FOUND */
    bool hung_up;    /* lost, and by its node */
    bool rejected;   /* its precondition does not hold */
    uint8_t status;
    struct buffer sealed;
    struct token_list seen, elements;
    const char *damage; /* of a value in the answer; NULL: none */
};

struct client;

struct client_kind {
    const char *name;
    enum content content;
    void (*next)(struct client *client, struct ask *ask);
    void (*take)(struct client *client, const struct ask *ask, const struct heard *heard);
};

enum { CLIENT_REGISTER, CLIENT_CART, CLIENT_COUNTER, CLIENT_RECREATE, CLIENT_KINDS };

extern const struct client_kind client_register, client_cart, client_counter, client_recreate;

/* What all clients of a world have in common: of a hundred, or against one another. */
struct client_habits {
    uint32_t gets, puts, deletes;          /* of a register, against one another */
    uint32_t contexts, conditions, blinds; /* of its writes; of deletes that need no context */
    uint32_t hot;                          /* operations on the first key */
    uint32_t ttl_ms;                       /* half of a register's puts to every other key; 0: none */
    uint32_t value_bytes;                  /* the longest */
};

struct client {
    const struct client_kind *kind;
    const struct client_habits *habits;
    struct prng prng;
    uint16_t number; /* its session in the history */
    const uint32_t *keys;
    uint32_t key_count;
    struct known *known; /* by place */
    uint32_t state, place;
    uint32_t *counted; /* a counter's: how far it has counted, by place */
};

void client_init(struct client *client, const struct client_kind *kind, const struct client_habits *habits,
                 uint64_t seed, uint16_t number, const uint32_t *keys, uint32_t key_count);
void client_fini(struct client *client);

/* Draw one of its keys. */
uint32_t client_draw_place(struct client *client);
bool client_chance(struct client *client, uint32_t percent);
uint32_t client_draw_bytes(struct client *client);

/* Keep what an answer brought: for a put that was answered with a context alone, @own. */
void client_learn(struct client *client, const struct ask *ask, const struct heard *heard, uint32_t own);

/* --- values --- */

void value_write(struct buffer *out, uint32_t token, const struct ask *ask);

/* NULL, or what is wrong. Adds to heard->seen and, merged as @content says, to heard->elements. */
const char *value_read(struct bytes value, uint32_t key, enum content content, struct heard *heard);

/* Merge one element of a cart or counter into others. */
void element_merge(struct token_list *elements, enum content content, uint32_t element);
