#include "runtime/descriptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOKED_AT_MAX = 16384 };

struct end {
    nng_sockaddr of_stream;
    int (*of_socket)(int fd, struct sockaddr *address, socklen_t *size);
};

static bool same(const nng_sockaddr *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *v4 = (const void *)b;
    const struct sockaddr_in6 *v6 = (const void *)b;
    if (a->s_family == NNG_AF_INET)
        return v4->sin_family == AF_INET && v4->sin_port == a->s_in.sa_port &&
               v4->sin_addr.s_addr == a->s_in.sa_addr;
    return a->s_family == NNG_AF_INET6 && v6->sin6_family == AF_INET6 && v6->sin6_port == a->s_in6.sa_port &&
           memcmp(&v6->sin6_addr, a->s_in6.sa_addr, sizeof(v6->sin6_addr)) == 0;
}

static bool is_between(int fd, const struct end ends[2])
{
    for (int i = 0; i < 2; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        if (ends[i].of_socket(fd, (struct sockaddr *)&address, &size) != 0 ||
            !same(&ends[i].of_stream, &address))
            return false;
    }
    return true;
}

/* Looked at again once it is ours: the number may have become another socket's meanwhile. */
static int duplicate(int fd, const struct end ends[2])
{
    int ours = dup(fd);
    if (ours < 0) return -1;
    if (is_between(ours, ends) && fcntl(ours, F_SETFD, FD_CLOEXEC) == 0) return ours;
    close(ours);
    return -1;
}

int descriptor_of(nng_stream *stream)
{
    struct end ends[2] = {{.of_socket = getsockname}, {.of_socket = getpeername}};
    if (nng_stream_get_addr(stream, NNG_OPT_LOCADDR, &ends[0].of_stream) != 0 ||
        nng_stream_get_addr(stream, NNG_OPT_REMADDR, &ends[1].of_stream) != 0)
        return -1;
    int found = -1;
    for (int fd = 0; found < 0 && fd < LOOKED_AT_MAX; fd++)
        if (is_between(fd, ends)) found = duplicate(fd, ends);
    return found;
}
