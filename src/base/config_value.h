/* Config values: how one setting's text becomes a number, a size, a time or an address. Pure; each leaves
 * *out untouched and returns false when the text is not of that kind or not in range. The grammar is that of
 * configs/node.yaml. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only, at most UINT64_MAX. */
bool value_number(const char *text, uint64_t *out);

/* 16 hexadecimal digits, not all zero. */
bool value_id(const char *text, uint64_t *out);

/* "true" or "false". */
bool value_bool(const char *text, bool *out);

/* A number of bytes: digits and B, KB, MB, GB or TB (powers of 1,024), or digits alone. */
bool value_size(const char *text, uint64_t *out);

/* A time in ms: digits and ms, s, m, h or d, or digits alone. */
bool value_time_ms(const char *text, uint64_t *out);

/* 1 to 63 letters, digits, '-', '_', '.'. */
bool value_name(const char *text);

/* At most @bytes_max printable ASCII characters. */
bool value_printable(const char *text, size_t bytes_max);

enum { ADDRESS_PATH_BYTES_MAX = 107, ADDRESS_HOST_BYTES_MAX = 100, ADDRESS_TEXT_BYTES_MAX = 127 };

enum address_kind { ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_IPC };

struct address_parts {
    enum address_kind kind;
    /* tcp: a name, an IPv4 address, or an IPv6 address without its brackets; port 0 is "any free one". */
    char host[ADDRESS_HOST_BYTES_MAX + 1];
    uint16_t port;
    char path[ADDRESS_PATH_BYTES_MAX + 1]; /* unix, ipc: absolute */
};

/* tcp://HOST:PORT, tcp://[IPV6]:PORT, unix:///PATH or ipc:///PATH. */
bool value_address(const char *text, struct address_parts *out);
