"""What befalls the cluster: a plan drawn from the seed, and the stations that carry it out.

The plan is a list made beforehand, so that a seed says what will be tried and when, whatever the cluster does meanwhile. At
most `at_once` faults are under way at a time. What a process can suffer (killed, stopped, out of disk, without power) comes
one at a time for each node; what befalls links may come on top of that.

A station is a node with what it stands on. It knows whether the node is *up* (for the availability of requests: running, not
stopped, reachable by clients), and how many nodes it reaches that are up and have room: who is alone cannot put a write on W disks. The storm
notices a node that ends by itself, which is a fault of the product unless its disk was
full to the last byte.

A disk that is lost (LOSSES) takes one copy of whatever lies on it, and the quorums bear one. So the next is lost only when
nothing can be left of which the last loss took a copy: nobody keeps a hint from before it, and then every node has said that
all its copies count, and that each was found equal with those of its other homes since (`dynode status`, EQUAL), all of them in
the lives that they are in now. Until then the plan waits with it, while everything else goes on; what was still waiting at its
end is left out, and counted.
"""
import asyncio
import dataclasses
import functools
import signal
import time

READY_S = 90  # to start again, on a machine that has other work
PROCESS = ("kill", "pause", "full", "power", "wipe", "flip", "old")
LINKS = ("cut", "cut-way", "isolate", "split", "slow", "loss", "sync")  # and what may come on top of all
LOSSES = ("wipe", "flip")  # of a disk, or of a shard's store that is found broken: one at a time
UNSURVIVED = {
    "old": "a directory put back from an old copy forgets what it acknowledged, and nothing tells it before somebody reads",
}
RESERVE_BYTES = 16 << 20  # what nodes are told to leave on their disks
SAID_S = 3  # for so long a report counts as what a node says now
CALM_S = 8, 20  # after a loss: between these no process suffers anything new, so that homes can be proven equal
LATE_S = 5  # the machine stood still: what should have begun before that is left out, or all of it would begin at once
SYNC_S = 2  # what was equal so long ago, and all nodes live since, is on the disks


@dataclasses.dataclass
class Fault:
    at: float  # seconds since the start
    until: float
    kind: str
    nodes: list
    much: int = 0

    def text(self):
        names = "+".join(f"node{node + 1}" for node in self.nodes)
        more = {"slow": f" {self.much} ms", "sync": f" {self.much} ms", "loss": f" {self.much} %", "full": " to the last byte" if self.much else " to the reserve"}
        ways = {"cut": f"node{self.nodes[0] + 1} | node{self.nodes[-1] + 1}", "cut-way": f"node{self.nodes[0] + 1} -> node{self.nodes[-1] + 1}",
                "split": f"{names} | the others"}
        return f"{self.kind} {ways.get(self.kind, names)}{more.get(self.kind, '')}"


def draw(random, seconds, nodes, kinds, at_once):
    """The plan."""
    plan, now, busy = [], 1.0, [0.0] * nodes  # busy: until when a node's process has had something, and some rest
    kinds, calm = sorted(kinds), (0.0, 0.0)
    while (now := now + random.expovariate(1 / 2.5)) < seconds - 2:
        if sum(fault.until > now for fault in plan) >= at_once:
            continue
        kind = random.choice(kinds)
        lasts = random.choice((0.3, 3, 10, 30)) * random.uniform(0.3, 1)
        if kind in PROCESS:
            if now < calm[1] and (now >= calm[0] or kind in LOSSES):
                continue
            free = [node for node in range(nodes) if busy[node] <= now]
            if not free:
                continue
            # Mostly one; sometimes several, or all of them, at the same moment: power more often, as what one node has lost
            # the others may still have.
            many = {"kill": (1, 1, 1, 1, 1, 2, 2, 3, nodes), "pause": (1, 1, 1, 1, 2, 2, 3), "power": (1, 1, 2, nodes, nodes)}
            many = random.choice(many.get(kind, (1,)))
            victims = sorted(random.sample(free, min(many, len(free))))
            if kind == "pause":
                lasts = max(1.0, lasts)
            if len(victims) == nodes:
                lasts = min(lasts, 5)
            if kind in LOSSES:
                calm = tuple(now + lasts + after for after in CALM_S)
            elif now < calm[0]:
                lasts = min(lasts, calm[0] - now + 1)
        elif kind in ("cut", "cut-way"):
            victims = random.sample(range(nodes), 2)
        elif kind == "split":
            victims = sorted(random.sample(range(nodes), random.randrange(1, nodes // 2 + 1)))
        else:
            victims = [random.randrange(nodes)]
        until = min(now + lasts, seconds - 0.5)
        much = {"slow": random.choice((20, 50, 100, 200)), "sync": random.choice((5, 20, 100, 500)), "power": random.choice((0, 0, 50, 150)), "flip": random.getrandbits(30),
                "loss": random.choice((1, 3, 10, 30)), "full": random.randrange(2)}.get(kind, 0)
        for node in victims if kind in PROCESS else ():
            busy[node] = until + 5
        plan.append(Fault(round(now, 2), round(until, 2), kind, victims, much))
    return plan


class Station:
    def __init__(self, node, number, disk, enter):
        self.node, self.number, self.disk = node, number, disk
        node.enter = enter
        self.reasons, self.epoch, self.starts = set(), 0, 0  # why it is not up; changes whenever that does
        self.ok = self.failed = 0
        self.may_end = False  # its disk is, or was a moment ago, full to the last byte
        self.expected_down = True
        self.lock = asyncio.Lock()
        self.report, self.said = {}, None  # (asked at, NodeReport), of its present life
        self.reach = lambda: 1  # how many nodes that are up and have room it can talk with, itself counted

    @property
    def up(self):
        return not self.reasons

    def state(self):
        return ", ".join(sorted(self.reasons)) or "up"

    def down(self, reason):
        self.reasons.add(reason)
        self.epoch += 1

    def back(self, reason):
        self.reasons.discard(reason)
        self.epoch += 1

    def count(self, good):
        self.ok += good
        self.failed += not good

    async def start(self, reason):
        """Returns what went wrong, or None. From this thread: the kernel ends a node with the thread that started it."""
        self.node.start()
        self.starts += 1
        until = time.monotonic() + READY_S
        while not self.node.said_ready():
            if not self.node.running():
                if self.may_end and self.node.process.returncode in (2, 3):
                    return None  # no room yet; whoever frees it starts it
                return f"{self.node.name} does not start: status {self.node.process.returncode}; its log:\n{self.node.tail(40)}"
            if time.monotonic() > until:
                return f"{self.node.name} was not ready within {READY_S} s; its log:\n{self.node.tail(40)}"
            await asyncio.sleep(0.05)
        self.expected_down = False
        self.back(reason)
        self.back("ended")
        return None

    async def kill(self, reason):
        self.expected_down = True
        self.down(reason)
        self.said = None
        await asyncio.to_thread(self.node.kill)


class Losses:
    """When may the next disk be lost? Asked again and again; it only looks at what the nodes said last."""

    def __init__(self, stations):
        self.stations = stations
        self.lost = None  # when the last one was over: (by the clock of the wall in ms, monotonic)
        self.delivered, self.home = set(), None  # who keeps no hint from before that; since when nobody does
        self.equal = None  # since when all is proven: (when, the lives)

    def over(self):
        """A disk has been lost, and its node runs again."""
        self.lost, self.delivered, self.home, self.equal = (time.time() * 1000, time.monotonic()), set(), None, None

    def waits_for(self):
        """None: another may be lost. Else what is still to come."""
        if self.lost is None:
            return None
        now = time.monotonic()
        said = {station: station.said for station in self.stations if station.said and now - station.said[0] < SAID_S}
        for station, (asked, report) in said.items():
            if asked > self.lost[1] and all(hint.oldest_ms > self.lost[0] for shard in report.shards for hint in shard.hints if hint.count):
                self.delivered.add(station)
        if len(self.delivered) < len(self.stations):
            return "hints from before the last loss, at " + _names(set(self.stations) - self.delivered)
        self.home = self.home or now
        proven = {station for station, (asked, report) in said.items()
                  if all(shard.filled and not shard.unproven and asked - shard.equal_ms_ago / 1000 > self.home for shard in report.shards)}
        if len(proven) < len(self.stations):
            self.equal = None
            return "the proof that all is equal, of " + _names(set(self.stations) - proven)
        lives = [station.starts for station in self.stations]
        if not self.equal or self.equal[1] != lives:
            self.equal = now, lives
        return None if now - self.equal[0] > SYNC_S else "what is equal to be synced"


def _names(stations):
    return ", ".join(sorted(station.node.name for station in stations))


class Storm:
    """Carries a plan out. `wrong` gets what the product did that it must not do."""

    def __init__(self, stations, network, plan, slow_disks, say, wrong):
        self.stations, self.network, self.plan, self.say, self.wrong = stations, network, plan, say, wrong
        self.slow_disks = slow_disks
        self.under_way, self.counts, self.changing = {}, {}, asyncio.Lock()
        self.losses, self.losing, self.left_out, self.late = Losses(stations), asyncio.Lock(), 0, 0
        for station in stations:
            station.reach = functools.partial(self._reach, station)

    def _reach(self, station):
        """Both ways. Who has no room takes no write."""
        return sum(other.up and not other.disk.full and not self.network.cuts.get((station.number, other.number)) and
                   not self.network.cuts.get((other.number, station.number)) for other in self.stations)

    async def run(self):
        self.began = time.monotonic()
        watching = asyncio.create_task(self._watch())
        tasks = [asyncio.create_task(self._fault(fault)) for fault in self.plan]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (watching, *tasks):
                task.cancel()
            results = await asyncio.gather(watching, *tasks, return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:
            raise failed[0]

    async def _until(self, moment):
        await asyncio.sleep(max(0, self.began + moment - time.monotonic()))

    async def _fault(self, fault):
        await self._until(fault.at)
        if time.monotonic() - self.began > fault.at + LATE_S:
            self.late += 1
            self.say(f"  {fault.text()} is left out: this machine stood still")
            return
        if fault.kind not in LOSSES:
            await self._begin(fault)
            return
        async with self.losing:
            end, waits, said = self.began + max(other.until for other in self.plan), None, 0
            while time.monotonic() < end and (waits := self.losses.waits_for()):
                if time.monotonic() - said > 20:
                    said = time.monotonic()
                    self.say(f"  {fault.text()} waits for {waits}")
                await asyncio.sleep(0.2)
            if time.monotonic() >= end:
                self.left_out += 1
                self.say(f"  {fault.text()} is left out{' for ' * bool(waits)}{waits or ''}")
                return
            lasts = fault.until - fault.at
            fault = dataclasses.replace(fault, at=time.monotonic() - self.began, until=time.monotonic() - self.began + lasts)
            await self._begin(fault)
            self.losses.over()

    async def _begin(self, fault):
        self.say(f"+ {fault.text()}, for {fault.until - fault.at:.1f} s")
        self.under_way[id(fault)] = fault
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        if fault.kind in PROCESS:
            await asyncio.gather(*(self._befall(fault, self.stations[node]) for node in fault.nodes))
        else:
            await self._link(fault)
        del self.under_way[id(fault)]
        self.say(f"- {fault.text()}")

    # --- processes and disks ---

    async def _befall(self, fault, station):
        async with station.lock:
            await getattr(self, f"_{fault.kind}")(fault, station)
            if not station.node.running():
                await self.restart(station)

    async def restart(self, station):
        """After whatever made it end."""
        why = await station.start("killed")
        if why:
            self.wrong(why)
            station.down("broken")

    async def _kill(self, fault, station):
        await station.kill("killed")
        await self._until(fault.until)

    async def _pause(self, fault, station):
        station.down("stopped")
        station.node.signal(signal.SIGSTOP)
        await self._until(fault.until)
        station.node.signal(signal.SIGCONT)
        station.back("stopped")

    async def _full(self, fault, station):
        station.may_end = bool(fault.much)
        station.epoch += 1
        await asyncio.to_thread(station.disk.fill, 0 if fault.much else RESERVE_BYTES // 2)
        await self._until(fault.until)
        await asyncio.to_thread(station.disk.free)
        await asyncio.sleep(1)  # what it began without room may end it yet
        station.may_end = False

    async def _power(self, fault, station):
        if fault.much and self.slow_disks:
            station.disk.slow(fault.much)
            await asyncio.sleep(0.5)  # so that something waits for the disk
        await station.kill("killed")
        station.disk.slow(0)
        await asyncio.to_thread(station.disk.cut_power)
        await self._until(fault.until)

    async def _wipe(self, fault, station):
        await station.kill("killed")
        await asyncio.to_thread(station.disk.wipe)
        await self._until(fault.until)

    async def _flip(self, fault, station):
        await station.kill("killed")
        self.say(f"  {station.node.name}: {await asyncio.to_thread(station.disk.flip, fault.much)}")
        await self._until(fault.until)

    async def _old(self, fault, station):
        for reason, change in (("copied", station.disk.keep), ("killed", station.disk.restore)):
            await station.kill("killed")
            await asyncio.to_thread(change)
            if reason == "copied":
                await self.restart(station)
                await self._until(fault.until)

    async def _watch(self):
        """Nodes that end by themselves; and how far all have come since the last disk was lost."""
        while True:
            self.losses.waits_for()
            for station in self.stations:
                if station.expected_down or station.node.running():
                    continue
                station.expected_down = True
                station.down("ended")
                status = station.node.process.returncode
                if station.may_end and status == 3:
                    self.say(f"  {station.node.name} has ended: its disk is full")
                    continue
                self.wrong(f"{station.node.name} ended by itself, with status {status}; its log:\n{station.node.tail(40)}")
                if not station.lock.locked():
                    async with station.lock:
                        await self.restart(station)
            await asyncio.sleep(0.1)

    # --- links ---

    async def _change(self, what, *arguments):
        async with self.changing:  # the network keeps count of what overlaps
            await asyncio.to_thread(what, *arguments)

    async def _link(self, fault):
        network, nodes, others = self.network, fault.nodes, [node for node in range(len(self.stations)) if node not in fault.nodes]
        if fault.kind == "isolate":
            station = self.stations[nodes[0]]
            station.down("cut off")
            await self._change(network.isolate, nodes[0])
            await self._until(fault.until)
            await self._change(network.join, nodes[0])
            if not network.away[nodes[0]]:
                station.back("cut off")
            return
        if fault.kind == "sync":
            disk = self.stations[nodes[0]].disk
            disk.slow(fault.much)
            await self._until(fault.until)
            disk.slow(0)
            return
        if fault.kind in ("slow", "loss"):
            if (nodes[0], fault.kind) in network.shaped:
                return  # it is so already
            await self._change(network.shape, nodes[0], fault.kind, fault.much)
            await self._until(fault.until)
            await self._change(network.unshape, nodes[0], fault.kind)
            return
        ways = {"cut": [tuple(nodes), tuple(reversed(nodes))], "cut-way": [tuple(nodes)],
                "split": [way for a in nodes for b in others for way in ((a, b), (b, a))]}[fault.kind]
        for change in (network.cut, network.mend):
            touched = [self.stations[node] for node in {node for way in ways for node in way}]
            for station in touched:
                station.epoch += 1
            await self._change(change, ways)
            for station in touched:
                station.epoch += 1
            await self._until(fault.until)

    # --- the end ---

    async def heal(self):
        await self._change(self.network.heal)
        for station in self.stations:
            station.node.signal(signal.SIGCONT)
            await asyncio.to_thread(station.disk.free)
            station.disk.slow(0)
            station.may_end = False
            if not station.node.running():
                await self.restart(station)
            for reason in ("stopped", "cut off"):
                station.back(reason)


def kinds_of(network, disk_kind, slow_disks, extra):
    """What can befall a cluster here: (kinds, why others cannot)."""
    kinds = {"kill", "pause", *LOSSES} | set(extra)
    if "full" in disk_kind.can:
        kinds.add("full")
    if "power" in disk_kind.can:
        kinds.add("power")
    if "cut" in network.can:
        kinds |= {"cut", "cut-way", "split"}
    if slow_disks:
        kinds.add("sync")
    kinds |= {kind for kind in ("isolate", "slow", "loss") if kind in network.can}
    left_out = [kind for kind in (*PROCESS[:4], *LINKS) if kind not in kinds]
    return kinds, left_out
