#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"

/* What arguments become: lives as long as the process, which makes one request and goes. */
static struct arena arguments_arena;

static void *keep(size_t size)
{
    if (arguments_arena.allocator.alloc == NULL) arena_init(&arguments_arena, 0);
    return arena_alloc(&arguments_arena, size);
}

static void complain(const struct cli *cli, const char *format, va_list arguments)
{
    fflush(stdout);
    fprintf(stderr, "dynode %s: ", cli->command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void cli_fail(const struct cli *cli, enum cli_exit status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(cli, format, arguments);
    va_end(arguments);
    exit((int)status);
}

void cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(cli, format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try \"dynode %s --help\".\n", cli->command);
    exit(EXIT_USAGE);
}

static void add_address(struct cli *cli, const char *address)
{
    size_t before = cli->addresses == NULL ? 0 : strlen(cli->addresses) + 1;
    char *joined = keep(before + strlen(address) + 1);
    sprintf(joined, "%s%s%s", before == 0 ? "" : cli->addresses, before == 0 ? "" : ",", address);
    cli->addresses = joined;
}

void cli_option(struct cli *cli, int option)
{
    switch (option) {
    case 'a':
        add_address(cli, optarg);
        return;
    case 'j':
        cli->json = true;
        return;
    case 'h':
        fputs(cli->help, stdout);
        exit(EXIT_OK);
    case 1000: {
        uint64_t ms = cli_time_ms(cli, "--deadline", optarg);
        if (ms < 1 || ms > 60000) cli_usage(cli, "--deadline must be from 1ms to 60s, not \"%s\"", optarg);
        cli->deadline_ms = (uint32_t)ms;
        return;
    }
    default: /* getopt_long has said what is wrong */
        fprintf(stderr, "Try \"dynode %s --help\".\n", cli->command);
        exit(EXIT_USAGE);
    }
}

struct dynode_client *cli_open(const struct cli *cli, bool any_node)
{
    const char *addresses = cli->addresses;
    if (addresses == NULL) addresses = getenv("DYNODE_ADDRESS");
    if (addresses == NULL || addresses[0] == '\0') addresses = "tcp://127.0.0.1:7400";
    struct dynode_options options = {.name = "dynode", .any_node = any_node, .deadline_ms = cli->deadline_ms};
    struct dynode_client *client;
    char why[512];
    if (dynode_open(addresses, &options, &client, why, sizeof(why)) != DYNODE_OK) cli_usage(cli, "%s", why);
    return client;
}

struct dynode_reply *cli_call(const struct cli *cli, struct dynode_client *client,
                              const struct dynode_operation *operation)
{
    return dynode_call(client, operation, cli->deadline_ms);
}

enum cli_exit cli_exit_of(enum dynode_status status)
{
    switch (status) {
    case DYNODE_OK:
        return EXIT_OK;
    case DYNODE_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case DYNODE_INVALID:
    case DYNODE_TOO_LARGE:
    case DYNODE_NO_SUCH_TABLE:
    case DYNODE_WRONG_VERSION:
        return EXIT_USAGE;
    case DYNODE_CONFLICT:
    case DYNODE_TABLE_EXISTS:
    case DYNODE_TOO_MANY_SIBLINGS:
        return EXIT_CONFLICT;
    default:
        return EXIT_UNAVAILABLE;
    }
}

int cli_report(const struct cli *cli, const struct dynode_result *result)
{
    if (cli->json) {
        cli_print_json(cli_json_result(result));
        return (int)cli_exit_of(result->status);
    }
    fflush(stdout);
    /* Where no node could be asked at all, what the status says of replicas would mislead. */
    bool alone = result->status == DYNODE_UNAVAILABLE && result->needed == 0 && result->message[0] != '\0';
    fprintf(stderr, "dynode %s: %s", cli->command, alone ? "" : dynode_status_text(result->status));
    if (result->needed > 0) fprintf(stderr, " (%u of %u)", result->got, result->needed);
    if (result->message[0] != '\0' && strcmp(result->message, dynode_status_text(result->status)) != 0) {
        if (!alone) fputs(": ", stderr);
        cli_print_text(stderr, dynode_string(result->message), "\\n");
    }
    if (result->status == DYNODE_NO_SUCH_TABLE)
        fputs(" (\"dynode table list\" shows those there are)", stderr);
    if (result->status == DYNODE_UNAVAILABLE && result->needed > 0)
        fputs(" (\"dynode status\" shows who is away, or waited for)", stderr);
    if (result->applied == DYNODE_APPLIED_NO) fputs("; nothing was written", stderr);
    if (result->applied == DYNODE_APPLIED_MAYBE) fputs("; it may have been written, or may be yet", stderr);
    fputc('\n', stderr);
    return (int)cli_exit_of(result->status);
}

json_t *cli_json_result(const struct dynode_result *result)
{
    json_t *object = json_object();
    json_object_set_new(object, "status", json_string(dynode_status_name(result->status)));
    if (result->message[0] != '\0') {
        json_t *message = json_string(result->message);
        json_object_set_new(object, "message", message != NULL ? message : json_string("(not UTF-8)"));
    }
    if (result->applied != DYNODE_APPLIED_NOTHING_TO_SAY)
        json_object_set_new(object, "applied",
                            json_string(result->applied == DYNODE_APPLIED_NO ? "NO" : "MAYBE"));
    if (result->needed > 0) {
        json_object_set_new(object, "got", json_integer(result->got));
        json_object_set_new(object, "needed", json_integer(result->needed));
    }
    if (result->replica_count > 0) {
        json_t *replicas = json_array();
        for (size_t i = 0; i < result->replica_count; i++)
            json_array_append_new(replicas, cli_json_id(result->replicas[i]));
        json_object_set_new(object, "replicas", replicas);
        json_t *stand_ins = json_array();
        for (size_t i = 0; i < result->stand_in_count; i++)
            json_array_append_new(stand_ins, cli_json_id(result->stand_ins[i]));
        json_object_set_new(object, "stand_ins", stand_ins);
    }
    return object;
}

void cli_print_json(json_t *document)
{
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(document);
}

static char *hex_of(struct dynode_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = malloc(bytes.size * 2 + 1);
    CHECK(hex != NULL);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = ((const uint8_t *)bytes.data)[i];
        hex[2 * i] = digits[byte >> 4];
        hex[2 * i + 1] = digits[byte & 15];
    }
    hex[bytes.size * 2] = '\0';
    return hex;
}

void cli_json_bytes(json_t *object, const char *name, struct dynode_bytes bytes)
{
    char name_hex[64];
    snprintf(name_hex, sizeof(name_hex), "%s_hex", name);
    json_t *text = json_stringn(bytes.size == 0 ? "" : bytes.data, bytes.size);
    if (text != NULL) json_object_set_new(object, name, text);
    char *hex = hex_of(bytes);
    json_object_set_new(object, name_hex, json_string(hex));
    free(hex);
}

const char *cli_id(uint64_t id)
{
    static char texts[4][17];
    static unsigned next;
    char *text = texts[next++ % 4];
    snprintf(text, 17, "%016llx", (unsigned long long)id);
    return text;
}

json_t *cli_json_id(uint64_t id)
{
    return json_string(cli_id(id));
}

/* The length of the UTF-8 character at the start of @text, 0 if there is none, or one that would move the
 * cursor. */
static size_t printable(const uint8_t *text, size_t size)
{
    if (text[0] >= 0x20 && text[0] < 0x7f) return 1;
    size_t length = text[0] >= 0xc2 && text[0] < 0xe0 ? 2
                    : (text[0] & 0xf0) == 0xe0        ? 3
                    : text[0] < 0xf5                  ? 4
                                                      : 0;
    if (text[0] < 0xc2 || length == 0 || length > size) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
    }
    if (length == 2 && text[0] == 0xc2 && text[1] < 0xa0) return 0; /* C1 controls */
    if (length == 3 && text[0] == 0xe0 && text[1] < 0xa0) return 0;
    if (length == 4 && text[0] == 0xf0 && text[1] < 0x90) return 0;
    return length;
}

void cli_print_text(FILE *to, struct dynode_bytes bytes, const char *new_line)
{
    const uint8_t *text = bytes.data;
    for (size_t i = 0; i < bytes.size;) {
        size_t length = printable(text + i, bytes.size - i);
        if (length > 0)
            fwrite(text + i, 1, length, to);
        else if (text[i] == '\n')
            fputs(new_line, to);
        else if (text[i] == '\t')
            fputc(text[i], to);
        else
            fprintf(to, "\\x%02x", text[i]);
        i += length == 0 ? 1 : length;
    }
}

const char *cli_bytes(uint64_t bytes)
{
    static char texts[4][16];
    static unsigned next;
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    char *text = texts[next++ % 4];
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1000 && unit < 5; unit++) value /= 1000;
    snprintf(text, 16, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

int cli_name_width(const struct dynode_cluster *cluster)
{
    size_t width = 14;
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (strlen(cluster->members[i].name) > width) width = strlen(cluster->members[i].name);
    return (int)width;
}

int cli_zone_width(const struct dynode_cluster *cluster)
{
    size_t width = 10;
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (strlen(cluster->members[i].zone) > width) width = strlen(cluster->members[i].zone);
    return (int)width;
}

uint32_t cli_number(const struct cli *cli, const char *option, const char *text, uint32_t least,
                    uint32_t most)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < least || number > most)
        cli_usage(cli, "%s must be a number from %u to %u, not \"%s\"", option, least, most, text);
    return (uint32_t)number;
}

uint64_t cli_time_ms(const struct cli *cli, const char *option, const char *text)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text[0] < '0' || text[0] > '9' || errno != 0 || strcmp(end, units[i].unit) != 0) continue;
        double ms = number * (double)units[i].ms;
        if (ms > 100.0 * 366 * 86400000) cli_usage(cli, "%s is at most 100 years, not \"%s\"", option, text);
        return (uint64_t)ms;
    }
    cli_usage(cli, "%s must be a number and its unit (ms, s, m, h or d), such as 5s, not \"%s\"", option,
              text);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

struct dynode_bytes cli_hex(const struct cli *cli, const char *option, const char *text)
{
    size_t size = strlen(text);
    if (size % 2 != 0)
        cli_usage(cli, "%s must be hexadecimal digits in pairs; there are %zu of them", option, size);
    uint8_t *bytes = keep(size / 2 + 1);
    for (size_t i = 0; i < size; i += 2) {
        int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0)
            cli_usage(cli, "%s must be hexadecimal digits in pairs, not \"%.40s\"", option, text);
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (struct dynode_bytes){bytes, size / 2};
}

struct dynode_bytes cli_key(const struct cli *cli, const char *text, bool hex)
{
    return hex ? cli_hex(cli, "KEY", text) : dynode_string(text);
}

struct dynode_bytes cli_read_file(const struct cli *cli, const char *path, size_t bytes_max)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (file == NULL) cli_fail(cli, EXIT_USAGE, "cannot read %s: %s", name, strerror(errno));
    uint8_t *bytes = keep(bytes_max + 1);
    size_t size = fread(bytes, 1, bytes_max + 1, file);
    if (ferror(file)) cli_fail(cli, EXIT_USAGE, "cannot read %s: %s", name, strerror(errno));
    if (size > bytes_max)
        cli_fail(cli, EXIT_USAGE, "%s holds more than the %zu bytes of a value", name, bytes_max);
    if (!standard) fclose(file);
    return (struct dynode_bytes){bytes, size};
}
