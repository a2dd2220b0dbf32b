/* What clients send, checked once: after this an actor can rely on the rules of client.proto. */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "client.pb-c.h"

enum {
    CLIENT_NAME_BYTES_MAX = 63, /* in its hello */
    KEY_BYTES_MAX = 1024,
    OPERATIONS_OTHER_MAX = 8, /* in one request: other than get, put and delete */
    VALUE_BYTES_MAX = 1048576,
    OPERATIONS_MAX = 1024,
    DEADLINE_MS_DEFAULT = 5000,
    DEADLINE_MS_MAX = 60000,
    SCAN_LIMIT_DEFAULT = 1000,
    SCAN_LIMIT_MAX = 10000,
    SCAN_CURSOR_BYTES_MAX = 2048,
};

/* The first frame of a connection.
 * STATUS_INVALID        It does not decode, or the magic is wrong.
 * STATUS_WRONG_VERSION  It decodes; the version is not ours. *out is set.
 * STATUS_TOO_LARGE      The client's name is above CLIENT_NAME_BYTES_MAX. *out is set. */
enum status client_hello_unpack(struct bytes payload, struct arena *arena, Dynode__Client__ClientHello **out);

/* A request's frame: decodes, id not 0, 1 to OPERATIONS_MAX operations. Unknown fields are dropped. What is
 * wrong within one operation is that operation's own answer: operation_check.
 *
 * STATUS_INVALID    The connection must end: *why (static memory) for the log.
 * STATUS_NO_MEMORY  Likewise: its tree is larger than the bound for its size. */
enum status request_unpack(struct bytes payload, struct arena *arena, Dynode__Client__Request **out,
                           const char **why);

/* One operation: its kind is set, and sizes, names, levels and preconditions are in range. What depends on
 * the table (R above N, say) is checked where the table is known.
 *
 * STATUS_INVALID, STATUS_TOO_LARGE  *why (static memory) says what is wrong and what would be right. */
enum status operation_check(const Dynode__Client__Operation *operation, const char **why);
