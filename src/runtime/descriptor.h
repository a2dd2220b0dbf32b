/* Descriptor: the socket beneath an nng stream.
 *
 * nng 1.5.2 does not tell it, and without it each wait for bytes costs two wakes of nng's threads (its
 * poller's, then that of a task) before the shard is woken: a third of the context switches of a put, and a
 * sixth of its CPU time (tests/bench/run three, 64 connections with one request in flight). With it a shard's
 * own loop watches the socket beside those of its clients; the bytes still go through the stream. */
#pragma once

#include <nng/nng.h>

/* A duplicate, the caller's to close, or -1 where it can't be told: streams that are not tcp, whose ends have
 * no addresses of their own. It looks through the lowest 16,384 descriptors of the process, for some
 * milliseconds: when a link opens, and on a thread that no client waits for. */
int descriptor_of(nng_stream *stream);
