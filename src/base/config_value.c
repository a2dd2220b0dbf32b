#include "base/config_value.h"

#include <ctype.h>
#include <string.h>

/* The digits @text begins with; *end is what follows them. */
static bool digits(const char *text, const char **end, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (p == text) return false;
    *end = p;
    *out = value;
    return true;
}

bool value_number(const char *text, uint64_t *out)
{
    const char *end;
    uint64_t value;
    if (!digits(text, &end, &value) || *end != '\0') return false;
    *out = value;
    return true;
}

bool value_id(const char *text, uint64_t *out)
{
    if (strlen(text) != 16) return false;
    uint64_t value = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (!isxdigit((unsigned char)*p)) return false;
        int digit = *p <= '9' ? *p - '0' : tolower(*p) - 'a' + 10;
        value = value << 4 | (uint64_t)digit;
    }
    if (value == 0) return false;
    *out = value;
    return true;
}

bool value_bool(const char *text, bool *out)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) return false;
    *out = yes;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool with_unit(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
    const char *end;
    uint64_t value;
    if (!digits(text, &end, &value)) return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) != 0) continue;
        if (value > UINT64_MAX / units[i].factor) return false;
        *out = value * units[i].factor;
        return true;
    }
    return false;
}

bool value_size(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"KB", 1ULL << 10}, {"MB", 1ULL << 20}, {"GB", 1ULL << 30}, {"TB", 1ULL << 40}};
    return with_unit(text, units, sizeof units / sizeof units[0], out);
}

bool value_time_ms(const char *text, uint64_t *out)
{
    static const struct unit units[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                                        {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    return with_unit(text, units, sizeof units / sizeof units[0], out);
}

bool value_name(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > 63) return false;
    for (const char *p = text; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL) return false;
    }
    return true;
}

bool value_printable(const char *text, size_t bytes_max)
{
    if (strlen(text) > bytes_max) return false;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') return false;
    }
    return true;
}

static bool path_of(const char *text, struct address_parts *out)
{
    size_t size = strlen(text);
    if (text[0] != '/' || size < 2 || size > ADDRESS_PATH_BYTES_MAX) return false;
    memcpy(out->path, text, size + 1);
    return true;
}

static bool host_and_port(const char *text, struct address_parts *out)
{
    bool bracket = text[0] == '[';
    const char *host = bracket ? text + 1 : text;
    const char *end = bracket ? strchr(host, ']') : strchr(host, ':');
    if (end == NULL || end == host || end - host > ADDRESS_HOST_BYTES_MAX) return false;
    for (const char *p = host; p < end; p++) {
        bool legal = bracket ? isxdigit((unsigned char)*p) || *p == ':' || *p == '.' || *p == '%'
                             : isalnum((unsigned char)*p) || *p == '-' || *p == '.' || *p == '_';
        if (!legal) return false;
    }
    const char *colon = bracket ? end + 1 : end;
    uint64_t port;
    if (*colon != ':' || !value_number(colon + 1, &port) || port > 65535) return false;
    size_t size = (size_t)(end - host);
    memcpy(out->host, host, size);
    out->host[size] = '\0';
    out->port = (uint16_t)port;
    return true;
}

bool value_address(const char *text, struct address_parts *out)
{
    if (!value_printable(text, ADDRESS_TEXT_BYTES_MAX)) return false;
    struct address_parts parts = {0};
    if (strncmp(text, "tcp://", 6) == 0) {
        parts.kind = ADDRESS_TCP;
        if (!host_and_port(text + 6, &parts)) return false;
    } else if (strncmp(text, "unix://", 7) == 0) {
        parts.kind = ADDRESS_UNIX;
        if (!path_of(text + 7, &parts)) return false;
    } else if (strncmp(text, "ipc://", 6) == 0) {
        parts.kind = ADDRESS_IPC;
        if (!path_of(text + 6, &parts)) return false;
    } else {
        return false;
    }
    *out = parts;
    return true;
}
