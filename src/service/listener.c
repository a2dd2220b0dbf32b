#include "service/listener.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static enum status refuse(const char *address, const char *text, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "%s: cannot listen: %s", address, text);
    return STATUS_INVALID;
}

static const char *reason(int error)
{
    if (error == EADDRINUSE) return "the port is in use by another process";
    if (error == EADDRNOTAVAIL) return "this machine has no such address";
    return strerror(error);
}

static enum status open_tcp(const char *address, const struct address_parts *parts, struct listener *out,
                            char *why, size_t why_bytes)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    snprintf(port, sizeof port, "%u", parts->port);
    int failed = getaddrinfo(parts->host, port, &hints, &found);
    if (failed != 0) return refuse(address, gai_strerror(failed), why, why_bytes);
    int one = 1, error = 0;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        (found->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0) ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        error = errno;
    }
    freeaddrinfo(found);
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    if (error == 0 && getsockname(fd, (struct sockaddr *)&bound, &size) != 0) error = errno;
    if (error != 0) {
        if (fd >= 0) close(fd);
        return refuse(address, reason(error), why, why_bytes);
    }
    unsigned actual = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                        : ((struct sockaddr_in *)&bound)->sin_port);
    bool brackets = strchr(parts->host, ':') != NULL;
    snprintf(out->address, sizeof out->address, "tcp://%s%s%s:%u", brackets ? "[" : "", parts->host,
             brackets ? "]" : "", actual);
    out->fd = fd;
    return STATUS_OK;
}

/* Does nobody answer at the socket file of @at? Then it was left by a process that is gone. */
static bool stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    bool refused = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static enum status open_unix(const char *address, const struct address_parts *parts, struct listener *out,
                             char *why, size_t why_bytes)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    static_assert(ADDRESS_PATH_BYTES_MAX < sizeof at.sun_path, "the path fits, with its NUL");
    memcpy(at.sun_path, parts->path, strlen(parts->path) + 1);
    if (lstat(parts->path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return refuse(address, "a file that is no socket is in the way", why, why_bytes);
        if (!stale(&at)) return refuse(address, "the socket is in use by another process", why, why_bytes);
        if (unlink(parts->path) != 0) return refuse(address, strerror(errno), why, why_bytes);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (!bound || chmod(parts->path, 0600) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        if (bound) unlink(parts->path);
        if (fd >= 0) close(fd);
        return refuse(address, strerror(error), why, why_bytes);
    }
    memcpy(out->path, parts->path, strlen(parts->path) + 1);
    snprintf(out->address, sizeof out->address, "%s", address);
    out->fd = fd;
    return STATUS_OK;
}

enum status listener_open(const char *address, struct listener *out, char *why, size_t why_bytes)
{
    struct address_parts parts;
    if (!value_address(address, &parts) || parts.kind == ADDRESS_IPC) {
        return refuse(address, "clients need tcp://HOST:PORT or unix:///PATH", why, why_bytes);
    }
    *out = (struct listener){.fd = -1};
    return parts.kind == ADDRESS_TCP ? open_tcp(address, &parts, out, why, why_bytes)
                                     : open_unix(address, &parts, out, why, why_bytes);
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0) return;
    close(listener->fd);
    listener->fd = -1;
    if (listener->path[0] != '\0') unlink(listener->path);
}
