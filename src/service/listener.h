/* Listener: a listening stream socket from its address, and the address it really got. */
#pragma once

#include <stddef.h>

#include "base/config_value.h"
#include "base/status.h"

struct listener {
    int fd;                                   /* non-blocking; the sockets it accepts inherit TCP_NODELAY */
    char address[ADDRESS_TEXT_BYTES_MAX + 1]; /* with the port that was found, if 0 was asked for */
    char path[ADDRESS_PATH_BYTES_MAX + 1];    /* of a unix socket: removed by listener_close; else empty */
};

/* Bind and listen at tcp://HOST:PORT or unix:///PATH. The file of a unix socket that nobody serves is
 * replaced; any other file is left alone. It is made for its owner alone (mode 0600).
 *
 * STATUS_INVALID  *why is one line: the address, and why it can't be had. */
enum status listener_open(const char *address, struct listener *out, char *why, size_t why_bytes);

void listener_close(struct listener *listener);
