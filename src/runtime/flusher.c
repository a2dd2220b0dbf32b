#include "runtime/flusher.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/store.h"

enum state { IDLE, ASKED, ENDED, STOPPED };

struct flusher {
    void (*ended)(void *context);
    void *context;
    pthread_t thread;
    bool busy; /* the shard's thread alone */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum state state;
    struct store *store;
    uint64_t turn;
    enum status status;
};

static void *run(void *argument)
{
    struct flusher *flusher = argument;
    pthread_setname_np(pthread_self(), "flusher");
    pthread_mutex_lock(&flusher->lock);
    for (;;) {
        while (flusher->state != ASKED && flusher->state != STOPPED)
            pthread_cond_wait(&flusher->changed, &flusher->lock);
        if (flusher->state == STOPPED) break;
        struct store *store = flusher->store;
        pthread_mutex_unlock(&flusher->lock);
        enum status status = store_sync(store);
        pthread_mutex_lock(&flusher->lock);
        flusher->status = status;
        flusher->state = ENDED;
        pthread_cond_broadcast(&flusher->changed);
        pthread_mutex_unlock(&flusher->lock); /* the shard, woken, wants it at once */
        flusher->ended(flusher->context);
        pthread_mutex_lock(&flusher->lock);
    }
    pthread_mutex_unlock(&flusher->lock);
    return NULL;
}

struct flusher *flusher_start(void (*ended)(void *context), void *context)
{
    struct flusher *flusher = calloc(1, sizeof(*flusher));
    CHECK(flusher != NULL);
    flusher->ended = ended;
    flusher->context = context;
    CHECK(pthread_mutex_init(&flusher->lock, NULL) == 0);
    CHECK(pthread_cond_init(&flusher->changed, NULL) == 0);
    CHECK(pthread_create(&flusher->thread, NULL, run, flusher) == 0);
    return flusher;
}

void flusher_begin(struct flusher *flusher, struct store *store, uint64_t turn)
{
    CHECK(!flusher->busy);
    flusher->busy = true;
    pthread_mutex_lock(&flusher->lock);
    flusher->store = store;
    flusher->turn = turn;
    flusher->state = ASKED;
    pthread_mutex_unlock(&flusher->lock);
    pthread_cond_broadcast(&flusher->changed);
}

bool flusher_busy(const struct flusher *flusher)
{
    return flusher->busy;
}

bool flusher_take(struct flusher *flusher, uint64_t *turn, enum status *status)
{
    pthread_mutex_lock(&flusher->lock);
    bool ended = flusher->state == ENDED;
    if (ended) {
        *turn = flusher->turn;
        *status = flusher->status;
        flusher->state = IDLE;
        flusher->busy = false;
    }
    pthread_mutex_unlock(&flusher->lock);
    return ended;
}

void flusher_wait(struct flusher *flusher)
{
    pthread_mutex_lock(&flusher->lock);
    while (flusher->state == ASKED) pthread_cond_wait(&flusher->changed, &flusher->lock);
    flusher->state = IDLE;
    flusher->busy = false;
    pthread_mutex_unlock(&flusher->lock);
}

void flusher_stop(struct flusher *flusher)
{
    flusher_wait(flusher);
    pthread_mutex_lock(&flusher->lock);
    flusher->state = STOPPED;
    pthread_cond_broadcast(&flusher->changed);
    pthread_mutex_unlock(&flusher->lock);
    CHECK(pthread_join(flusher->thread, NULL) == 0);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->lock);
    free(flusher);
}
