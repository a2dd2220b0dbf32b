#include "store_test.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

static int remove_one(const char *path, const struct stat *of, int flag, struct FTW *ftw)
{
    (void)of, (void)flag, (void)ftw;
    return remove(path);
}

void directory_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A file that has gone since it was listed is left out. */
static void file_copy(const char *from, const char *to)
{
    char block[65536];
    FILE *in = fopen(from, "rb");
    if (in == NULL && errno == ENOENT) return;
    FILE *out = fopen(to, "wb");
    CHECK(in != NULL);
    CHECK(out != NULL);
    for (size_t size; (size = fread(block, 1, sizeof block, in)) > 0;)
        CHECK(fwrite(block, 1, size, out) == size);
    fclose(in);
    CHECK(fclose(out) == 0);
}

static bool is_log(const char *name)
{
    return strncmp(name, "WiredTigerLog.", 14) == 0;
}

/* The logs first: WiredTiger may be removing those that its last checkpoint made needless, and a copy with an
 * older checkpoint and newer logs would be one that no power cut leaves. Not the lock: to open and close it
 * here would give up the lock that this process has on it (POSIX). */
void directory_copy(const char *from, const char *to)
{
    CHECK(mkdir(to, 0700) == 0);
    for (int logs = 1; logs >= 0; logs--) {
        DIR *directory = opendir(from);
        CHECK(directory != NULL);
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            char source[1024], target[1024];
            const char *name = entry->d_name;
            if (name[0] == '.' || strcmp(name, "WiredTiger.lock") == 0 || is_log(name) != (logs != 0))
                continue;
            snprintf(source, sizeof source, "%s/%s", from, name);
            snprintf(target, sizeof target, "%s/%s", to, name);
            file_copy(source, target);
        }
        closedir(directory);
    }
}

enum status fixture_open(struct fixture *f)
{
    char why[512] = "";
    f->options.path = f->path;
    enum status status = store_wt_open(&f->options, why, sizeof why, &f->store);
    if (status != STATUS_OK) {
        f->store = NULL;
        assert_true(strlen(why) > 0);
    }
    return status;
}

void fixture_init(struct fixture *f)
{
    const char *temporary = getenv("TMPDIR");
    prng_init(&f->prng, f->seed);
    arena_init(&f->arena, 0);
    snprintf(f->root, sizeof f->root, "%s/store_test.XXXXXX", temporary != NULL ? temporary : "/tmp");
    assert_non_null(mkdtemp(f->root));
    f->lives = 0;
    snprintf(f->path, sizeof f->path, "%s/0", f->root);
    f->options = (struct store_wt_options){
        .cache_bytes = (f->engine == ENGINE_LSM ? 32u : 16u) << 20,
        .lsm = f->engine == ENGINE_LSM,
        .checkpoint_log_bytes = 1u << 30,
        .checkpoint_seconds = 3600,
    };
    if (f->engine == ENGINE_MEMORY)
        f->store = store_mem_open();
    else
        assert_int_equal(fixture_open(f), STATUS_OK);
}

void fixture_fini(struct fixture *f)
{
    if (f->store != NULL) store_close(f->store);
    arena_fini(&f->arena);
    directory_remove(f->root);
}

void fixture_reopen(struct fixture *f)
{
    if (f->engine == ENGINE_MEMORY) {
        assert_int_equal(store_sync(f->store), STATUS_OK);
        store_mem_crash(f->store);
        return;
    }
    store_close(f->store);
    assert_int_equal(fixture_open(f), STATUS_OK);
}

void fixture_power_cut(struct fixture *f)
{
    if (f->engine == ENGINE_MEMORY) {
        store_mem_crash(f->store);
        return;
    }
    char was[sizeof f->path];
    memcpy(was, f->path, sizeof was);
    snprintf(f->path, sizeof f->path, "%s/%d", f->root, ++f->lives);
    directory_copy(was, f->path);
    store_close(f->store);
    directory_remove(was);
    assert_int_equal(fixture_open(f), STATUS_OK);
}
