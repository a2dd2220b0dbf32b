"""Nodes that die under load: how long no write succeeds, how soon the rate is back, how soon hints are home.

Five nodes, N=3, W=2, sloppy writes as by default. The load comes from here, in Python, to every node alike, in requests of a
few writes: first as fast as it goes, which is the capacity of nodes and load together on this machine, then in an open loop
at a share of that. A request whose node dies is lost and not repeated. One node is killed, and comes back after a while; in
the end three of the five are killed.
"""
import asyncio
import os
import random
import signal
import sys
import time

from repair_bench import hints, status

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../sim/local"))
from client import Connection, pb, put  # noqa: E402

WRITES, CONNECTIONS, KEYS, VALUE_BYTES, IN_FLIGHT_MAX = 8, 3, 50_000, 200, 1000  # a request; to each node; requests
GAP_S, BACK_S, BACK, HOME = 1.0, 3.0, 0.9, 1.5  # wanted
WINDOW_S = 0.5  # in which a rate is taken
LOST = (OSError, EOFError, asyncio.TimeoutError)


class Load:
    def __init__(self, addresses):
        self.addresses, self.open, self.done = addresses, [], []  # done: (when, how many writes) that succeeded
        self.failed = self.in_flight = 0
        self.causes = {}
        self.random = random.Random(1)
        self.value = os.urandom(VALUE_BYTES)

    async def _keep(self, address):
        """One connection, made anew when it is lost."""
        while True:
            try:
                connection = await Connection.open(address, 0, 1)
            except LOST:
                await asyncio.sleep(0.1)
                continue
            self.open.append(connection)
            await asyncio.wait([connection.task])
            self.open.remove(connection)

    async def _request(self, connection):
        operations = [put("bench", b"key %d" % self.random.randrange(KEYS), self.value) for _ in range(WRITES)]
        good, cause = 0, "the connection was lost"
        try:
            results = await asyncio.wait_for(connection.request(operations, 2000), 4)
            good = sum(result.status == pb.OK for result in results)
            cause = next((f"{pb.Status.Name(result.status)} {result.message}" for result in results if result.status != pb.OK), "")
        except LOST:
            pass
        if good:
            self.done.append((time.monotonic(), good))
        if good < WRITES:
            self.failed += WRITES - good
            self.causes[cause] = self.causes.get(cause, 0) + WRITES - good
        self.in_flight -= 1

    async def begin(self):
        self.keepers = [asyncio.create_task(self._keep(address)) for address in self.addresses for _ in range(CONNECTIONS)]
        while len(self.open) < len(self.keepers):
            await asyncio.sleep(0.01)

    async def end(self):
        for keeper in self.keepers:
            keeper.cancel()
        await asyncio.gather(*self.keepers, return_exceptions=True)
        for connection in self.open:
            await connection.close()

    async def run(self, seconds, rate=0):
        """An open loop at @rate writes a second; without one, as much as is answered."""
        begun, sent, turn = time.monotonic(), 0, 0
        while (passed := time.monotonic() - begun) < seconds:
            most = 2 * len(self.open) if rate == 0 else IN_FLIGHT_MAX
            while self.open and self.in_flight < most and (rate == 0 or sent < passed * rate / WRITES):
                self.in_flight += 1
                sent, turn = sent + 1, turn + 1
                asyncio.create_task(self._request(self.open[turn % len(self.open)]))
            await asyncio.sleep(0.002)

    def rate(self, begin, end):
        return sum(count for when, count in self.done if begin <= when < end) / (end - begin)

    def gap(self, begin, end):
        """The longest without a write that succeeded."""
        moments = [begin, *(when for when, _ in self.done if begin < when < end), end]
        return max(after - before for before, after in zip(moments, moments[1:]))

    def back(self, killed, wanted, end):
        """How long after @killed the rate is @wanted, and stays there for two windows."""
        at = killed
        while at + 2 * WINDOW_S <= end:
            if self.rate(at, at + WINDOW_S) >= wanted and self.rate(at + WINDOW_S, at + 2 * WINDOW_S) >= wanted:
                return at - killed
            at += 0.1
        return end - killed


async def _measure(dynode, say, kill, start, addresses, options):
    rows = []

    def judge(what, value, wanted, form="{:.2f} s"):
        met = value <= wanted
        say(f"  {what}: {form.format(value)}, wanted at most {form.format(wanted)}: {'met' if met else 'NOT MET'}")
        rows.append(dict(case=what, value=value, target=wanted, met=met))

    async def waiting():
        return hints(await asyncio.to_thread(status, dynode, addresses[0]))

    load = Load(addresses)
    await load.begin()
    await load.run(2)
    begun = time.monotonic()
    await load.run(5)
    most = load.rate(begun, time.monotonic())
    rate = most * options.kill_share / 100
    say(f"{most:,.0f} writes/s at most; {options.kill_share} % of that: {rate:,.0f}")

    begun = time.monotonic()
    await load.run(5, rate)
    quiet = load.rate(begun, time.monotonic())
    load.failed, load.causes = 0, {}
    killed = time.monotonic()
    kill(4)
    await load.run(options.away, rate)
    away = time.monotonic() - killed
    judge("one of five killed: longest time without a write that succeeded", load.gap(killed - 1, killed + 10), GAP_S)
    judge(f"rate back to {100 * BACK:.0f} % of {quiet:,.0f}/s", load.back(killed, BACK * quiet, killed + away), BACK_S)
    say(f"  {load.failed} writes of {rate * away:,.0f} failed: {load.causes}")
    written = await waiting()
    start(4)
    returned = time.monotonic()
    while (left := await waiting()) > 0 and time.monotonic() - returned < options.limit:
        await load.run(0.25, rate)
    judge(f"{written:,} hints, written in {away:.1f} s, are home{'' if left == 0 else ' (NOT ALL: %d are not)' % left}",
          time.monotonic() - returned, HOME * away, "{:.1f} s")
    say(f"  the rate meanwhile: {load.rate(returned, time.monotonic()):,.0f}/s")

    await load.run(5, rate / 2)
    killed, load.failed, load.causes = time.monotonic(), 0, {}
    for index in (2, 3, 4):
        kill(index)
    await load.run(10, rate / 2)
    judge("three of five killed: longest time without a write that succeeded", load.gap(killed - 1, killed + 10), 2 * GAP_S)
    say(f"  {load.failed} writes of {rate / 2 * 10:,.0f} failed: {load.causes}")
    load.failed, load.causes = 0, {}
    await load.run(5, rate / 2)
    judge(f"sloppy writes with W=2 on the two that are left: failed of {rate / 2 * 5:,.0f}", load.failed, 0, "{:.0f}")
    await load.end()
    return rows


def measure(dynode, say, servers, start_node, options):
    say("\n== five nodes (2 shards each, N=3, W=2, sloppy): nodes are killed under load")
    starts = [lambda i=i: start_node(servers, i, 5, dict(n=3, r=2, w=2)) for i in range(5)]
    nodes = [start() for start in starts]
    time.sleep(2)  # links come up

    def kill(index):
        process = next(p for p in servers.processes if p.pid == nodes[index][1])
        process.send_signal(signal.SIGKILL)
        process.wait()

    def start(index):
        nodes[index] = starts[index]()

    return asyncio.run(_measure(dynode, say, kill, start, [node[0] for node in nodes], options))
