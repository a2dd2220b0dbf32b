"""The load: sessions that read and write like clients do, each with one operation under way, and write down all of it.

Two thirds of the operations are sloppy, the others strict (client.proto, Quorum). For the checkers what is sloppy is weak: strict
reads see all strict writes, sloppy ones may miss something until the end. Writes with conditions are strict whatever they ask.

A key is a register (written with and without context, under conditions, for a while, deleted), a cart (read, merged, put
back) or a counter (compare and put). What a session knows of a key is the last answer that had a context. Half of the
sessions name their writes with a token and send a write that failed again, to another node.
"""
import asyncio
import time

from client import Connection, delete, get, pb, put
from recorder import CART, COUNTER, COUNTER_BITS, PLAIN, merge

CART_ELEMENTS_MAX = 60
PATIENCE_MS = 2000  # beyond the deadline
ATTEMPTS_MAX = 3
KINDS = ("sloppy write", "sloppy read", "strict write", "strict read")
LOST = (OSError, EOFError, asyncio.TimeoutError)  # what a connection ends with
_MAYBE = (pb.OK, pb.NOT_FOUND, pb.INTERNAL)


class Known:
    def __init__(self):
        self.context, self.tokens, self.elements = b"", [], []


class Tally:
    """What became of requests, for the view and the summary."""

    def __init__(self):
        self.ok = self.failed = 0  # requests
        # Those whose node was up all the time and reached W nodes: [all, answered with success]; and whatever it reached.
        self.up = {what: [0, 0] for what in KINDS}
        self.whatever = [0, 0]
        self.causes, self.latencies = {}, []
        self.last_write = self.longest_gap = 0.0

    def count(self, what, good, was_up, reached, cause, took):
        """@what: of KINDS."""
        if good:
            self.ok += 1
            if len(self.latencies) < 2_000_000:
                self.latencies.append(took)
        else:
            self.failed += 1
        if good and "write" in what:
            now = time.monotonic()
            if self.last_write:
                self.longest_gap = max(self.longest_gap, now - self.last_write)
            self.last_write = now
        if was_up:
            for counts in (self.whatever, self.up[what]) if reached else (self.whatever,):
                counts[0] += 1
                counts[1] += good
            if not good and reached:
                causes = self.causes.setdefault(what, {})
                causes[cause] = causes.get(cause, 0) + 1

    def availability(self, *whats):
        asked, good = (sum(self.up[what][index] for what in whats or KINDS) for index in (0, 1))
        return good / asked if asked else 1.0, asked


class Session:
    def __init__(self, load, number):
        self.load, self.number, self.random = load, number, load.random_of(f"session {number}")
        self.tokens = number % 2 == 0
        self.known, self.counted = {}, {}
        self.connection = self.station = None

    async def run(self):
        try:
            while not self.load.stopping:
                recorder = self.random.choice(self.load.recorders)
                key = self.random.randrange(len(recorder.contents))
                if recorder.contents[key] == PLAIN:
                    await self._register(recorder, key)
                elif recorder.contents[key] == CART:
                    await self._cart(recorder, key)
                else:
                    await self._counter(recorder, key)
        finally:
            await self._leave()

    # --- what is done to a key ---

    def _chance(self, percent):
        return self.random.randrange(100) < percent

    def _knows(self, recorder, key):
        return self.known.setdefault((recorder.table, key), Known())

    async def _register(self, recorder, key):
        kind = self.random.choices(("get", "put", "delete"), (45, 45, 10))[0]
        known, flags, ttl_ms = self._knows(recorder, key), "", 0
        if kind == "get":
            await self._perform(recorder, kind, key)
            return
        context = bool(known.context) and self._chance(70)
        if self._chance(10):
            flags = "c" if context else "a"
        elif kind == "put" and key % 2 and self._chance(10):
            ttl_ms = 1500
        if kind == "delete" and flags == "a":
            flags = ""
        await self._perform(recorder, kind, key, flags, context, ttl_ms=ttl_ms, size=self._size())

    def _size(self):
        return self.random.randrange(20000) if self._chance(3) else self.random.randrange(600)

    async def _cart(self, recorder, key):
        on = (await self._perform(recorder, "get", key))[0]
        while on and not self.load.stopping:
            known = self._knows(recorder, key)
            held = list(known.elements)
            if len(held) >= CART_ELEMENTS_MAX or self._chance(5):
                held = []  # paid for: it begins anew
            elif held and self._chance(15):
                held.pop(self.random.randrange(len(held)))  # back on the shelf
            on = (await self._perform(recorder, "put", key, "", bool(known.context), held, size=self._size()))[0] and self._chance(40)

    async def _counter(self, recorder, key):
        on = (await self._perform(recorder, "get", key))[0]
        while on and not self.load.stopping:
            known = self._knows(recorder, key)
            elements, context = list(known.elements), bool(known.context)
            number = self.counted[recorder.table, key] = self.counted.get((recorder.table, key), 0) + 1
            merge(elements, COUNTER, self.number << COUNTER_BITS | number)
            good, rejected = await self._perform(recorder, "put", key, "c" if context else "a", context, elements)
            on = rejected or (good and self._chance(50))

    # --- one operation ---

    async def _perform(self, recorder, kind, key, flags="", with_context=False, elements=(), ttl_ms=0, size=0):
        """Returns (answered with success, its condition was said not to hold)."""
        await asyncio.sleep(self.random.uniform(0, self.load.think_s))
        known = self._knows(recorder, key)
        covers = list(known.tokens) if with_context and kind != "get" else []
        context = known.context if with_context else b""
        if kind == "delete" and not with_context:
            flags += "b"
        sloppy = self._chance(66) and not {"a", "c"} & set(flags) and not self.load.strict_only
        what = f"{'sloppy' if sloppy else 'strict'} {'read' if kind == 'get' else 'write'}"
        if sloppy:
            flags += "w"
        await self._connect()
        token, begun = recorder.begin()
        operation = self._operation(recorder, kind, key, token, context, flags, elements, ttl_ms, size)
        maybe, attempt = False, 0
        while True:
            attempt += 1
            deadline_ms = self.random.randrange(500, 3000)
            node = self.station.number
            result = await self._ask(operation, deadline_ms, what)
            good = result is not None and result.status in (pb.OK, pb.NOT_FOUND)
            rejected = result is not None and result.status == pb.CONFLICT
            outcome = "ok" if good else "info" if maybe or not _not_applied(result) else "fail"
            again = (kind != "get" and not good and attempt < ATTEMPTS_MAX and (self.tokens or outcome == "fail")
                     and not self.load.stopping and self._chance(70)
                     and not (result and result.status in (pb.CONFLICT, pb.TOO_MANY_SIBLINGS, pb.TOO_LARGE)))
            if not again:
                break
            if outcome == "info" and not maybe:
                maybe = True
                flags += "r"
            await asyncio.sleep(self.random.uniform(0, 0.1))
            await self._connect()
        seen, merged = recorder.hear(token, key, result) if result else ([], [])
        ending = ("x" if rejected else "") + ("l" if result is None else "")
        recorder.end(token, begun, kind, outcome, key, status=result.status if result else 0, flags=flags + ending,
                     session=self.number, node=node, deadline_ms=deadline_ms, ttl_ms=ttl_ms, covers=covers, elements=elements, seen=seen)
        if result and (good or result.context):
            known.context, known.tokens, known.elements = result.context, seen, merged
            if kind == "put" and good and not seen:
                known.tokens, known.elements = [token], list(elements)
                if recorder.contents[key] == CART:
                    known.elements.append(token)
        return good, rejected

    def _operation(self, recorder, kind, key, token, context, flags, elements, ttl_ms, size):
        name = recorder.key_bytes(key)
        quorum = pb.SLOPPY if "w" in flags else pb.STRICT
        if kind == "get":
            return get(recorder.table, name, quorum=quorum)
        more = {"quorum": quorum, "context": context, "precondition": pb.IF_CONTEXT if "c" in flags else pb.IF_ABSENT if "a" in flags else pb.NONE}
        if self.tokens:
            more["token"] = pb.WriteToken(client=self.load.client_id + self.number, sequence=token << 1 | (recorder.rule == "lww"))
        if kind == "delete":
            return delete(recorder.table, name, **more)
        return put(recorder.table, name, recorder.encode(token, key, elements, size), ttl_ms=ttl_ms, **more)

    async def _connect(self):
        """A connection to some node; if none can be had, wait for one."""
        while self.connection is None or self.connection.task.done() or self._chance(3):
            await self._leave()
            station = self.random.choice(self.load.stations)
            epoch, was_up = station.epoch, station.up
            try:
                self.connection, self.station = await Connection.open(station.node.address, 0, 3), station
                return
            except LOST as error:
                if was_up and station.epoch == epoch:
                    self.load.tally.count("sloppy read", False, True, station.reach() >= self.load.w, f"no connection ({type(error).__name__})", 0)
                await asyncio.sleep(0.02)

    async def _leave(self):
        if self.connection is not None:
            connection, self.connection = self.connection, None
            await connection.close()

    async def _ask(self, operation, deadline_ms, what):
        """The result, or None: it was lost."""
        station, began = self.station, time.monotonic()
        epoch, was_up, reached = station.epoch, station.up, station.reach() >= self.load.w
        result, cause = None, "lost"
        try:
            answered = await asyncio.wait_for(self.connection.request([operation], deadline_ms), (deadline_ms + PATIENCE_MS) / 1000)
            result = answered[0]
            cause = f"{pb.Status.Name(result.status)} ({result.message})" if result.message else pb.Status.Name(result.status)
        except LOST:
            await self._leave()
        good = result is not None and result.status in (pb.OK, pb.NOT_FOUND, pb.CONFLICT, pb.TOO_MANY_SIBLINGS)
        station.count(good)
        was_up, reached = was_up and station.epoch == epoch and station.node.running(), reached and station.reach() >= self.load.w
        self.load.tally.count(what, good, was_up, reached, cause, time.monotonic() - began)
        if what == "sloppy write" and not good and was_up and reached and time.monotonic() > self.load.said.get(station, 0):
            self.load.said[station] = time.monotonic() + 1
            more = f": {result.got} of {result.needed}" if result else ""
            self.load.say(f"  a sloppy {operation.WhichOneof('kind')} at {station.node.name} is {cause} after {1000 * (time.monotonic() - began):.0f} ms{more}")
        return result


def _not_applied(result):
    if result is None or result.status in _MAYBE:
        return False
    return result.status not in (pb.UNAVAILABLE, pb.TIMEOUT) or result.applied == pb.NO


class Load:
    def __init__(self, stations, recorders, sessions, think_s, random_of, client_id, strict_only, say):
        """random_of(name): a stream of numbers of that name, from the seed."""
        self.stations, self.recorders, self.think_s, self.random_of = stations, recorders, think_s, random_of
        self.client_id, self.stopping, self.tally = client_id, False, Tally()
        self.w, self.strict_only, self.say, self.said = recorders[0].w, strict_only, say, {}
        self.sessions = [Session(self, number) for number in range(sessions)]

    def start(self):
        self.tasks = [asyncio.create_task(session.run()) for session in self.sessions]

    async def stop(self):
        """Every operation has an end."""
        self.stopping = True
        await asyncio.gather(*self.tasks)

    def broken(self):
        """What ended a session that should not have ended."""
        return next((task.exception() for task in self.tasks if task.done() and not task.cancelled() and task.exception()), None)


async def read_all(recorder, station, level, patience_s, hear):
    """Read every key through one node, until each was answered with success: hear(key, tokens). Returns what is wrong, or None."""
    until, left, why = time.monotonic() + patience_s, list(range(len(recorder.contents))), None
    while left:
        if time.monotonic() > until:
            return f"in the end {station.node.name} does not read key {left[0]} of {recorder.table}: {why}"
        part = left[:32]
        try:
            connection = await Connection.open(station.node.address, 0, 5)
            try:
                results = await asyncio.wait_for(connection.request(
                    [get(recorder.table, recorder.key_bytes(key), **level) for key in part], 10000), 15)
            finally:
                await connection.close()
        except LOST as error:
            why = repr(error)
            await asyncio.sleep(0.2)
            continue
        for key, result in zip(part, results):
            if result.status in (pb.OK, pb.NOT_FOUND):
                left.remove(key)
                hear(key, recorder.hear(0, key, result)[0])
            else:
                why = f"{pb.Status.Name(result.status)} {result.message}"
    return None
