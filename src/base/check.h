/* CHECK: what our own code promised.
 *
 * It stays on in release builds and ends the process with the expression, the place and the function. What a
 * peer, a client or a disk can cause is a status (status.h), never a CHECK. One fact a line. */
#pragma once

_Noreturn void check_failed(const char *expression, const char *file, int line, const char *function);

#define CHECK(x) ((x) ? (void)0 : check_failed(#x, __FILE__, __LINE__, __func__))
