/* Slow disk: a library to be preloaded, which makes every sync of a process wait a while first.
 *
 * What is not synced yet is lost with the power; on a fast disk that is a moment that no power cut ever hits.
 * So the disk is made slow before the power is cut (disks.py). The file that DYNODE_SLOW_DISK names says how
 * many milliseconds; it is read at each sync, so that a disk can become slow and fast again while it is used.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int sync_call(int fd);

static void wait_first(void)
{
    char text[16] = {0};
    const char *path = getenv("DYNODE_SLOW_DISK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    long ms = size > 0 ? strtol(text, NULL, 10) : 0;
    if (ms <= 0) return;
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&left, NULL);
}

static int sync_after_all(const char *name, int fd)
{
    sync_call *real = (sync_call *)dlsym(RTLD_NEXT, name);
    if (real == NULL) abort();
    wait_first();
    return real(fd);
}

int fsync(int fd)
{
    return sync_after_all("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_after_all("fdatasync", fd);
}
