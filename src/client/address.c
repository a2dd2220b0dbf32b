#include "client/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static bool parse_tcp(struct address *out, const char *rest, const char **why)
{
    const char *colon = strrchr(rest, ':');
    *why = "no port: it must be tcp://HOST:PORT";
    if (colon == NULL || colon[1] == '\0' || colon == rest) return false;
    const char *host = rest;
    size_t host_size = (size_t)(colon - rest);
    if (host[0] == '[') {
        *why = "an IPv6 address must be written tcp://[ADDRESS]:PORT";
        if (host_size < 3 || host[host_size - 1] != ']') return false;
        host++;
        host_size -= 2;
    } else if (memchr(host, ':', host_size) != NULL) {
        *why = "an IPv6 address must be written tcp://[ADDRESS]:PORT";
        return false;
    }
    *why = "the port must be a number from 1 to 65535";
    char *end;
    if (colon[1] < '0' || colon[1] > '9') return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) return false;
    memcpy(out->host, host, host_size);
    out->host[host_size] = '\0';
    snprintf(out->port, sizeof(out->port), "%lu", port);
    return true;
}

bool address_parse(const char *text, size_t size, struct address *out, const char **why)
{
    *out = (struct address){0};
    *why = "the address is empty";
    if (size == 0) return false;
    *why = "the address is longer than 255 characters";
    if (size > ADDRESS_GIVEN_BYTES_MAX) return false;
    memcpy(out->text, text, size);
    *why = "the address contains a NUL";
    if (strlen(out->text) != size) return false;
    if (strncmp(out->text, "tcp://", 6) == 0) return parse_tcp(out, out->text + 6, why);
    *why = "an address must be tcp://HOST:PORT or unix:///PATH";
    if (strncmp(out->text, "unix://", 7) != 0) return false;
    *why = "a unix address must name an absolute path: unix:///PATH";
    if (out->text[7] != '/') return false;
    *why = "the path of a unix socket has at most 107 characters";
    if (size - 7 >= sizeof(((struct sockaddr_un *)0)->sun_path)) return false;
    return true;
}

bool address_resolve(const struct address *address, struct address_list *out, const char **why)
{
    out->count = 0;
    if (address->host[0] == '\0') {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        strcpy(un.sun_path, address->text + 7);
        memcpy(&out->entries[0].address, &un, sizeof(un));
        out->entries[0].size = sizeof(un);
        out->entries[0].family = AF_UNIX;
        out->count = 1;
        return true;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    int rc = getaddrinfo(address->host, address->port, &hints, &found);
    if (rc != 0) {
        *why = rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
        return false;
    }
    for (struct addrinfo *ai = found; ai != NULL && out->count < ADDRESS_RESOLVED_MAX; ai = ai->ai_next) {
        if (ai->ai_addrlen > sizeof(out->entries[0].address)) continue;
        memcpy(&out->entries[out->count].address, ai->ai_addr, ai->ai_addrlen);
        out->entries[out->count].size = ai->ai_addrlen;
        out->entries[out->count].family = ai->ai_family;
        out->count++;
    }
    freeaddrinfo(found);
    *why = "the name has no address";
    return out->count > 0;
}

int address_connect(const struct address_list *list, size_t index)
{
    int family = list->entries[index].family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int one = 1;
    if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&list->entries[index].address, list->entries[index].size) == 0)
        return fd;
    /* A unix socket whose backlog is full says EAGAIN and will not say when there is room: a failure. */
    if (errno == EINPROGRESS) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}
