/* Address: where a node listens for clients, tcp://HOST:PORT, tcp://[IPv6]:PORT or unix:///PATH. */
#pragma once

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { ADDRESS_GIVEN_BYTES_MAX = 255, ADDRESS_RESOLVED_MAX = 8 };

struct address {
    char text[ADDRESS_GIVEN_BYTES_MAX + 1]; /* as it was given */
    char host[ADDRESS_GIVEN_BYTES_MAX + 1]; /* empty for unix: then the path begins at text + 7 */
    char port[8];
};

/* What an address stands for: a name may have several. */
struct address_list {
    struct {
        struct sockaddr_storage address;
        socklen_t size;
        int family;
    } entries[ADDRESS_RESOLVED_MAX];
    size_t count;
};

/* Read @text, of @size characters. False: *why (static memory) says what is wrong; *out is undefined. */
bool address_parse(const char *text, size_t size, struct address *out, const char **why);

/* Look the address up. May block for a host name, never for a number. False: *why (static memory) says why.
 */
bool address_resolve(const struct address *address, struct address_list *out, const char **why);

/* A non-blocking socket that has begun to connect to entry @index, without Nagle's delay. -1: see errno. */
int address_connect(const struct address_list *list, size_t index);
