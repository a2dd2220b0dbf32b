#include "merkle/forest.h"

#include <stdlib.h>

#include "base/check.h"

/* One vnode. A tree is made with the first object in it; without one it is as that of no object. */
struct plot {
    bool built, distrusted;
    struct tree *trees[FOREST_N_MAX]; /* by n - 1 */
};

struct sweep {
    bool under_way;
    uint32_t vnode;
    uint32_t leaf;               /* the present one: all before it are done */
    uint64_t sums[FOREST_N_MAX]; /* of it, so far, by n - 1 */
    struct buffer last;          /* the store key last visited; empty: none */
    uint32_t wrong;              /* leaves */
};

struct forest {
    uint32_t vnodes;
    struct plot **plots; /* NULL: not built, nor being built */
    uint32_t built;
    uint64_t empty_root, empty_inner;
    struct sweep sweep;
};

struct forest *forest_alloc(uint32_t vnodes)
{
    struct forest *forest = calloc(1, sizeof(*forest));
    CHECK(forest != NULL);
    forest->vnodes = vnodes;
    forest->plots = calloc(vnodes, sizeof(*forest->plots));
    CHECK(forest->plots != NULL);
    struct tree empty;
    tree_init(&empty);
    forest->empty_root = tree_root(&empty);
    forest->empty_inner = tree_inner(&empty, 0);
    return forest;
}

static void plot_free(struct forest *forest, uint32_t vnode)
{
    struct plot *plot = forest->plots[vnode];
    if (plot == NULL) return;
    for (uint32_t i = 0; i < FOREST_N_MAX; i++) free(plot->trees[i]);
    forest->built -= plot->built;
    free(plot);
    forest->plots[vnode] = NULL;
}

void forest_free(struct forest *forest)
{
    for (uint32_t vnode = 0; vnode < forest->vnodes; vnode++) plot_free(forest, vnode);
    buffer_fini(&forest->sweep.last);
    free(forest->plots);
    free(forest);
}

static struct tree *plot_tree(struct plot *plot, uint32_t n)
{
    struct tree **tree = &plot->trees[n - 1];
    if (*tree == NULL) {
        *tree = malloc(sizeof(**tree));
        CHECK(*tree != NULL);
        tree_init(*tree);
    }
    return *tree;
}

void forest_replace(struct forest *forest, const struct forest_entry *entry, uint64_t before, uint64_t after)
{
    CHECK(entry->vnode < forest->vnodes);
    CHECK(entry->n <= FOREST_N_MAX);
    struct plot *plot = forest->plots[entry->vnode];
    struct sweep *sweep = &forest->sweep;
    if (plot == NULL || entry->n == 0 || before == after) return;
    uint32_t leaf = tree_leaf(entry->hash, forest->vnodes);
    bool swept = sweep->under_way && sweep->vnode == entry->vnode;
    bool done = swept && leaf < sweep->leaf;
    if (swept && leaf == sweep->leaf && bytes_compare(entry->store_key, buffer_bytes(&sweep->last)) <= 0)
        sweep->sums[entry->n - 1] += after - before;
    if (plot->built || done) tree_replace(plot_tree(plot, entry->n), leaf, before, after);
}

bool forest_is_built(const struct forest *forest, uint32_t vnode)
{
    return vnode < forest->vnodes && forest->plots[vnode] != NULL && forest->plots[vnode]->built;
}

uint32_t forest_built(const struct forest *forest)
{
    return forest->built;
}

void forest_distrust(struct forest *forest, uint32_t vnode)
{
    if (forest->plots[vnode] != NULL) forest->plots[vnode]->distrusted = true;
}

bool forest_is_distrusted(const struct forest *forest, uint32_t vnode)
{
    return forest->plots[vnode] != NULL && forest->plots[vnode]->distrusted;
}

/* --- what is compared --- */

/* NULL: as that of no object. */
static struct tree *built_tree(struct forest *forest, uint32_t vnode, uint32_t n)
{
    CHECK(forest_is_built(forest, vnode));
    CHECK(n >= 1);
    CHECK(n <= FOREST_N_MAX);
    return forest->plots[vnode]->trees[n - 1];
}

uint64_t forest_root(struct forest *forest, uint32_t vnode, uint32_t n)
{
    struct tree *tree = built_tree(forest, vnode, n);
    return tree == NULL ? forest->empty_root : tree_root(tree);
}

void forest_inners(struct forest *forest, uint32_t vnode, uint32_t n, uint64_t sums[TREE_INNER])
{
    struct tree *tree = built_tree(forest, vnode, n);
    for (uint32_t i = 0; i < TREE_INNER; i++)
        sums[i] = tree == NULL ? forest->empty_inner : tree_inner(tree, i);
}

void forest_leaves(struct forest *forest, uint32_t vnode, uint32_t n, uint32_t inner, uint64_t sums[TREE_FAN])
{
    CHECK(inner < TREE_INNER);
    const struct tree *tree = built_tree(forest, vnode, n);
    for (uint32_t i = 0; i < TREE_FAN; i++) sums[i] = tree == NULL ? 0 : tree->leaves[inner * TREE_FAN + i];
}

/* --- a sweep --- */

void forest_sweep_begin(struct forest *forest, uint32_t vnode)
{
    CHECK(vnode < forest->vnodes);
    CHECK(!forest->sweep.under_way);
    struct sweep *sweep = &forest->sweep;
    buffer_clear(&sweep->last);
    *sweep = (struct sweep){.under_way = true, .vnode = vnode, .last = sweep->last};
    if (forest->plots[vnode] == NULL) {
        forest->plots[vnode] = calloc(1, sizeof(*forest->plots[vnode]));
        CHECK(forest->plots[vnode] != NULL);
    }
    forest->plots[vnode]->distrusted = false;
}

/* The present leaf is done: its sums are what the trees should hold. */
static void close_leaf(struct forest *forest, struct plot *plot)
{
    struct sweep *sweep = &forest->sweep;
    bool wrong = false;
    for (uint32_t n = 1; n <= FOREST_N_MAX; n++) {
        uint64_t sum = sweep->sums[n - 1];
        sweep->sums[n - 1] = 0;
        if (plot->trees[n - 1] == NULL && sum == 0) continue;
        struct tree *tree = plot_tree(plot, n);
        wrong = wrong || tree->leaves[sweep->leaf] != sum;
        tree_set(tree, sweep->leaf, sum);
    }
    sweep->wrong += wrong && plot->built;
    sweep->leaf++;
}

/* The present leaf is done, and so are those up to @leaf, which hold nothing: most leaves of a small vnode,
 * so they are only looked at, in the few trees that there are. */
static void advance(struct forest *forest, uint32_t leaf)
{
    struct sweep *sweep = &forest->sweep;
    struct plot *plot = forest->plots[sweep->vnode];
    if (sweep->leaf >= leaf) return;
    close_leaf(forest, plot);
    const struct tree *trees[FOREST_N_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < FOREST_N_MAX; i++)
        if (plot->trees[i] != NULL) trees[count++] = plot->trees[i];
    while (sweep->leaf < leaf) {
        uint64_t any = 0;
        for (uint32_t i = 0; i < count; i++) any |= trees[i]->leaves[sweep->leaf];
        if (any != 0)
            close_leaf(forest, plot);
        else
            sweep->leaf++;
    }
}

void forest_sweep_add(struct forest *forest, const struct forest_entry *entry, uint64_t checksum)
{
    struct sweep *sweep = &forest->sweep;
    CHECK(sweep->under_way);
    CHECK(entry->vnode == sweep->vnode);
    CHECK(entry->n <= FOREST_N_MAX);
    CHECK(bytes_compare(entry->store_key, buffer_bytes(&sweep->last)) > 0);
    advance(forest, tree_leaf(entry->hash, forest->vnodes));
    buffer_clear(&sweep->last);
    buffer_append(&sweep->last, entry->store_key.data, entry->store_key.size);
    if (entry->n > 0) sweep->sums[entry->n - 1] += checksum;
}

uint32_t forest_sweep_end(struct forest *forest)
{
    struct sweep *sweep = &forest->sweep;
    CHECK(sweep->under_way);
    advance(forest, TREE_LEAVES);
    struct plot *plot = forest->plots[sweep->vnode];
    forest->built += !plot->built;
    plot->built = true;
    sweep->under_way = false;
    return sweep->wrong;
}

void forest_sweep_stop(struct forest *forest)
{
    struct sweep *sweep = &forest->sweep;
    if (!sweep->under_way) return;
    sweep->under_way = false;
    if (forest->plots[sweep->vnode]->built)
        forest->plots[sweep->vnode]->distrusted = true; /* as far as it came, it may have been */
    else
        plot_free(forest, sweep->vnode);
}
