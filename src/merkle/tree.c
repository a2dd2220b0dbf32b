#include "merkle/tree.h"

#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"

void tree_init(struct tree *tree)
{
    memset(tree, 0, sizeof(*tree));
    tree->stale = UINT32_MAX;
}

uint32_t tree_leaf(uint64_t hash, uint32_t vnodes)
{
    uint32_t shift = (uint32_t)__builtin_ctz(vnodes);
    return (uint32_t)((hash << shift) >> 54);
}

void tree_set(struct tree *tree, uint32_t leaf, uint64_t sum)
{
    CHECK(leaf < TREE_LEAVES);
    if (tree->leaves[leaf] == sum) return;
    tree->leaves[leaf] = sum;
    tree->stale |= UINT32_C(1) << leaf / TREE_FAN;
}

void tree_replace(struct tree *tree, uint32_t leaf, uint64_t before, uint64_t after)
{
    tree_set(tree, leaf, tree->leaves[leaf] - before + after);
}

static uint64_t hash_of(const uint64_t *numbers)
{
    uint8_t bytes[TREE_FAN * 8];
    for (uint32_t i = 0; i < TREE_FAN; i++) put_be64(bytes + (size_t)i * 8, numbers[i]);
    return hash64(bytes_of(bytes, sizeof(bytes)), 0);
}

static void refresh(struct tree *tree)
{
    if (tree->stale == 0) return;
    for (uint32_t stale = tree->stale; stale != 0; stale &= stale - 1) {
        uint32_t inner = (uint32_t)__builtin_ctz(stale);
        tree->inner[inner] = hash_of(tree->leaves + (size_t)inner * TREE_FAN);
    }
    tree->root = hash_of(tree->inner);
    tree->stale = 0;
}

uint64_t tree_inner(struct tree *tree, uint32_t inner)
{
    CHECK(inner < TREE_INNER);
    refresh(tree);
    return tree->inner[inner];
}

uint64_t tree_root(struct tree *tree)
{
    refresh(tree);
    return tree->root;
}
