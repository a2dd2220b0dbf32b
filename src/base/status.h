/* Status: how anything that can fail says so. Zero is OK.
 *
 * The numbers below STATUS_INTERNAL are those of client.proto's Status, so that an actor's status goes to a
 * client as it is (wire/client_wire.c asserts it). The others never leave the cluster. */
#pragma once

#define STATUS_LIST(X)                                                                                       \
    X(OK, 0, "ok")                                                                                           \
    X(NOT_FOUND, 1, "not found")                                                                             \
    X(CONFLICT, 2, "the precondition does not hold")                                                         \
    X(UNAVAILABLE, 3, "too few replicas")                                                                    \
    X(TIMEOUT, 4, "the deadline passed")                                                                     \
    X(OVERLOADED, 5, "too much is in flight")                                                                \
    X(INVALID, 6, "the request is not valid")                                                                \
    X(TOO_LARGE, 7, "larger than the limit")                                                                 \
    X(NO_SUCH_TABLE, 8, "no such table")                                                                     \
    X(TABLE_EXISTS, 9, "a table of that name exists")                                                        \
    X(WRONG_VERSION, 10, "a protocol version that this node does not speak")                                 \
    X(TOO_MANY_SIBLINGS, 11, "too many siblings: resolve them first")                                        \
    X(STOPPING, 12, "the node is stopping")                                                                  \
    X(INTERNAL, 64, "internal error")                                                                        \
    X(CORRUPT, 65, "the stored bytes do not match their checksum")                                           \
    X(NOT_HOME, 66, "this node is no home replica of the key")                                               \
    X(NOT_FILLED, 67, "this replica does not hold all data yet")                                             \
    X(STORE_BROKEN, 68, "the store is broken")                                                               \
    X(NO_SPACE, 69, "no space is left")                                                                      \
    X(NO_MEMORY, 70, "no memory is left within the bound")                                                   \
    X(IN_USE, 71, "in use by another process")                                                               \
    X(UNKNOWN, 72, "this node keeps no hint of the key")

enum status {
#define X(name, number, text) STATUS_##name = (number),
    STATUS_LIST(X)
#undef X
};

/* The status in upper case, "NOT_FOUND"; "UNKNOWN" for a number that is none. Static memory. */
const char *status_name(enum status status);

/* The status as a short sentence, "not found". Static memory. */
const char *status_text(enum status status);
