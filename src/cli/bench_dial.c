/* How the benchmark connects: to dynode with a hello that names a shard, to redis without a word. Blocking,
 * before anything is measured. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench.h"
#include "client.pb-c.h"
#include "client/address.h"
#include "wire/frame.h"

enum { CONNECT_MS = 5000 };

static bool wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, CONNECT_MS) == 1;
}

static bool read_exactly(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        if (!wait_for(fd, POLLIN)) return false;
        ssize_t n = recv(fd, to, size, 0);
        if (n <= 0) return false;
        to += n;
        size -= (size_t)n;
    }
    return true;
}

static const char *say_hello(int fd, uint32_t shard)
{
    Dynode__Client__ClientHello hello = DYNODE__CLIENT__CLIENT_HELLO__INIT;
    uint8_t frame[FRAME_HEADER_BYTES + FRAME_HELLO_BYTES_MAX];
    hello.magic = CLIENT_HELLO_MAGIC;
    hello.version = CLIENT_PROTOCOL_VERSION;
    hello.shard = shard;
    hello.client = "dynode bench";
    size_t size = dynode__client__client_hello__pack(&hello, frame + FRAME_HEADER_BYTES);
    frame_header(frame, size);
    if (send(fd, frame, FRAME_HEADER_BYTES + size, MSG_NOSIGNAL) != (ssize_t)(FRAME_HEADER_BYTES + size))
        return "the hello could not be sent";
    if (!read_exactly(fd, frame, FRAME_HEADER_BYTES)) return "no hello came back";
    size = get_be32(frame);
    if (size == 0 || size > FRAME_HELLO_BYTES_MAX) return "it does not speak dynode's protocol";
    if (!read_exactly(fd, frame, size)) return "no hello came back";
    Dynode__Client__ServerHello *answer = dynode__client__server_hello__unpack(NULL, size, frame);
    if (answer == NULL) return "its hello does not decode";
    const char *why = answer->status == DYNODE__CLIENT__STATUS__OK ? NULL : "it refuses the connection";
    dynode__client__server_hello__free_unpacked(answer, NULL);
    return why;
}

const char *bench_dial(const char *text, uint32_t shard, bool hello, int *out)
{
    struct address address;
    struct address_list list;
    const char *why;
    if (!address_parse(text, strlen(text), &address, &why) || !address_resolve(&address, &list, &why))
        return why;
    why = "no address";
    for (size_t i = 0; i < list.count; i++) {
        int fd = address_connect(&list, i);
        if (fd < 0) {
            why = strerror(errno);
            continue;
        }
        int error = ETIMEDOUT;
        socklen_t size = sizeof(error);
        if (wait_for(fd, POLLOUT)) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        why = error != 0 ? strerror(error) : hello ? say_hello(fd, shard) : NULL;
        if (why == NULL) {
            *out = fd;
            return NULL;
        }
        close(fd);
    }
    return why;
}
