"""Drive a cluster: many records in or out through all its nodes, with batches of operations in flight on each connection.

A node that dies takes its requests with it. Gets, and puts of the same value, may be repeated: the batch goes to another
node, and the time that took is part of its latency.
"""
import asyncio
import random
import sys
import time

from client import Connection, get, pb, put, status_name

BATCH = 32  # operations per request
IN_FLIGHT = 4  # requests in flight per connection
PATIENCE = 20  # seconds to try one batch


class Progress:
    """A line that says how far it is: rewritten on a terminal, one every few seconds elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.done = what, total, 0
        self.begun = self.said = time.monotonic()

    def add(self, count):
        self.done += count
        now = time.monotonic()
        if now - self.said > (0.2 if sys.stdout.isatty() else 2):
            self.said = now
            self._print("\r" if sys.stdout.isatty() else "", "" if sys.stdout.isatty() else "\n")

    def end(self):
        self.seconds = time.monotonic() - self.begun
        self._print("\r" if sys.stdout.isatty() else "", "\n")

    def rate(self):
        return self.done / max(time.monotonic() - self.begun, 1e-9)

    def _print(self, before, after):
        print(f"{before}  {self.what}: {self.done:,} of {self.total:,}, {self.rate():,.0f}/s   ", end=after, flush=True)


class Result:
    def __init__(self):
        self.latencies = []  # seconds per request of BATCH operations
        self.retries = 0  # batches sent again, to another node
        self.wrong = []  # (key, why)
        self.longest_gap, self.last = 0.0, time.monotonic()  # between two answers of the whole cluster
        self.source = {}  # key: index of the node that took it

    def answered(self, began):
        now = time.monotonic()
        self.latencies.append(now - began)
        self.longest_gap, self.last = max(self.longest_gap, now - self.last), now

    def percentile_ms(self, share):
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Fleet:
    """A connection to each shard of each node; a lost one is opened again when it is next needed."""

    def __init__(self, nodes, shards):
        self.nodes, self.shards, self.connections, self.opening = nodes, shards, {}, {}

    async def connection(self, node, shard):
        key = node, shard
        async with self.opening.setdefault(key, asyncio.Lock()):  # by one of those that want it
            connection = self.connections.get(key)
            if connection is None or connection.task.done():
                connection = self.connections[key] = await Connection.open(self.nodes[node].address, shard + 1, 2)
            return connection

    async def close(self):
        for connection in self.connections.values():
            await connection.close()

    async def _batch(self, operations, node, shard, result):
        """Until every operation of the batch has an answer that is final. Returns the results and the node that gave them."""
        began = time.monotonic()
        answers, open_ = [None] * len(operations), list(range(len(operations)))
        while True:
            try:
                connection = await self.connection(node, shard)
                answered = await connection.request([operations[index] for index in open_])
                for index, answer in zip(open_, answered):
                    answers[index] = answer
                open_ = [index for index in open_ if answers[index].status in
                         (pb.UNAVAILABLE, pb.TIMEOUT, pb.OVERLOADED, pb.STOPPING)]
            except (OSError, asyncio.TimeoutError):
                pass
            if not open_ or time.monotonic() - began > PATIENCE:
                result.answered(began)
                return answers, node
            result.retries += 1
            node = (node + 1) % len(self.nodes)
            await asyncio.sleep(0.02)

    async def run(self, what, keys, operation, accept, choose_node=None, on_progress=None, result=None):
        """operation(key) for each of @keys, spread over all connections; accept(key, answer) says what is wrong with it.
        @result, if given, can be watched meanwhile."""
        result, progress = result or Result(), Progress(what, len(keys))
        queues = {}
        if choose_node:  # each node's keys apart
            for key in keys:
                queues.setdefault(choose_node(key), []).append(key)
        shared = iter(range(0, len(keys), BATCH))

        async def worker(home, shard):
            node = home
            while True:
                if choose_node:
                    own = queues.get(home, [])
                    chosen = own[-BATCH:]
                    del own[-BATCH:]
                else:
                    start = next(shared, None)
                    chosen = [] if start is None else keys[start:start + BATCH]
                if not chosen:
                    return
                answers, node = await self._batch([operation(key) for key in chosen], node, shard, result)
                for key, answer in zip(chosen, answers):
                    why = "no answer" if answer is None else accept(key, answer)
                    if why:
                        result.wrong.append((key, why))
                    result.source[key] = node
                progress.add(len(chosen))
                if on_progress:
                    on_progress(progress.done)

        await asyncio.gather(*(worker(node, shard) for node in range(len(self.nodes)) for shard in range(self.shards)
                               for _ in range(IN_FLIGHT)))
        progress.end()
        result.seconds, result.rate = progress.seconds, progress.done / max(progress.seconds, 1e-9)
        return result

    async def put_all(self, what, table, records, **more):
        def accept(_, answer):
            return None if answer.status == pb.OK else describe(answer)
        return await self.run(what, list(records), lambda key: put(table, key, records[key]), accept, **more)

    async def get_all(self, what, table, records, **more):
        def accept(key, answer):
            if answer.status != pb.OK:
                return describe(answer)
            if [sibling.value for sibling in answer.siblings] != [records[key]]:
                return "other bytes than were written"
            return None
        return await self.run(what, list(records), lambda key: get(table, key), accept, **more)

    async def one_at_a_time(self, operations):
        """Latencies of single requests, nothing else in flight. Through the first node."""
        connection, latencies = await self.connection(0, 0), []
        for operation in operations:
            began = time.monotonic()
            await connection.request([operation])
            latencies.append(time.monotonic() - began)
        return sorted(1000 * latency for latency in latencies)


class Reader:
    """Reads random records of @records, one batch after the other, until it is told to stop: what a user sees meanwhile."""

    def __init__(self, fleet, table, acceptable):
        self.fleet, self.table, self.acceptable, self.result, self.stopping = fleet, table, acceptable, Result(), False
        self.reads = 0
        self.random = random.Random(1)

    async def run(self, keys, node):
        while not self.stopping:
            chosen = self.random.sample(keys, min(8, len(keys)))
            before = [self.acceptable(key) for key in chosen]
            answers, node = await self.fleet._batch([get(self.table, key) for key in chosen], node, 0, self.result)
            for key, allowed, answer in zip(chosen, before, answers):
                self.reads += 1
                if answer is None or answer.status != pb.OK:
                    self.result.wrong.append((key, "no answer" if answer is None else describe(answer)))
                elif [sibling.value for sibling in answer.siblings] not in [[value] for value in allowed]:
                    self.result.wrong.append((key, "other bytes than were written"))
            await asyncio.sleep(0.005)


def describe(answer):
    return f"{status_name(answer.status)} {answer.message}".strip()
