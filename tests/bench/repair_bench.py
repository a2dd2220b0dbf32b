"""Clients before repair: what clients feel of a full hint replay and of a wiped node that is filled again.

Three nodes, each record on two of them (so that the third stands in), a load of an open loop, at a share of what the
cluster takes at most. Slices of a few seconds are measured; those while nothing else goes on are the quiet ones, before and
after each repair, so that each ratio is of one run and of one mood of the machine. A slice counts as one of a repair while
that was under way at its end. The latency of a slice is its 99th percentile, counted from when a request was due.

A wiped node is equal again when all its copies count, and all nodes have found theirs equal with those of their other homes since
it was started (`dynode status`, EQUAL). What else the machine had to do is told by its load, with the least and the most there was.
"""
import json
import os
import shutil
import signal
import statistics
import subprocess
import time

VALUE_BYTES, WANTED = 1000, 2.0
EQUAL_S, EQUAL_OBJECTS = 120, 200_000  # a node that has to take in so many is equal again within that time


def status(dynode, address):
    """{node's name: its shards} of who answers."""
    done = subprocess.run([dynode, "status", "--json", "--interval", "0s", "-a", address, "--deadline", "2s"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    nodes = json.loads(done.stdout)["members"] if done.stdout else []
    return {node["name"]: node["shard_reports"] for node in nodes if "shard_reports" in node}


def total(nodes, field, only=None):
    return sum(shard[field] for name, shards in nodes.items() if only in (None, name) for shard in shards)


def is_equal(nodes, name, since):
    """Do all copies of @name count, and were all of all nodes found equal after @since (monotonic)?"""
    now = time.monotonic()
    return len(nodes) == 3 and all(shard["filled"] for shard in nodes[name]) and all(
        shard["unproven"] == 0 and now - shard["equal_ms_ago"] / 1000 > since for shards in nodes.values() for shard in shards)


def hints(nodes):
    return sum(hint["count"] for shards in nodes.values() for shard in shards for hint in shard["hints"])


class Run:
    def __init__(self, bench, dynode, say, servers, starts, options):
        self.bench, self.dynode, self.say, self.servers, self.starts, self.options = bench, dynode, say, servers, starts, options
        self.nodes = [start() for start in starts]
        self.addresses = [node[0] for node in self.nodes]
        self.rate = self.failed = 0
        self.loads = []

    def load(self, mix, addresses=None, **more):
        return self.bench(addresses=addresses or self.addresses[:2], mixes=[mix], any_node=True, records=self.options.records,
                          value_bytes=VALUE_BYTES, **more)[mix]

    def slice(self):
        """{p99 of gets, of puts} in ms. What fails while a node comes back is counted."""
        done = self.load("a", no_load=True, rate=self.rate, duration=f"{self.options.slice}s", connections=16, in_flight=16,
                         may_fail=True)
        self.failed += done["errors"]
        self.loads.append(os.getloadavg()[0])
        return {name: values["p99_ms"] for name, values in done["latency"].items()}

    def quiet(self, slices):
        return [self.slice() for _ in range(slices)]

    def stop(self, index, wipe):
        process = next(p for p in self.servers.processes if p.pid == self.nodes[index][1])
        process.send_signal(signal.SIGKILL)
        process.wait()
        if wipe:
            shutil.rmtree(self.nodes[index][2])

    def while_repairing(self, left):
        """Slices until @left says that nothing is left to do; how long that took."""
        slices, begun, limit = [], time.monotonic(), time.monotonic() + self.options.limit
        while time.monotonic() < limit:
            measured = self.slice()
            if left() == 0:
                return slices or [measured], time.monotonic() - begun
            slices.append(measured)
        self.say(f"  not over after {self.options.limit} s: {left()} left")
        return slices, self.options.limit

    def compare(self, what, before, during, after, seconds):
        rows = []
        what, self.failed = f"{what} ({self.failed} operations failed)", 0
        self.say(f"{what}: {seconds:.0f} s, {len(during)} slices of {self.options.slice} s at {self.rate} operations/s"
                 f" (load {min(self.loads):.1f} to {max(self.loads):.1f})")
        self.loads = []
        for name in sorted(before[0]):
            quiet = statistics.median([s[name] for s in before + after])
            values = [s[name] for s in during]
            ratio = statistics.median(values) / quiet
            self.say(f"  {name}: p99 {statistics.median(values):.1f} ms (slices {min(values):.1f} to {max(values):.1f}), quiet"
                     f" {quiet:.1f} ms (slices {min(s[name] for s in before + after):.1f} to"
                     f" {max(s[name] for s in before + after):.1f}): {ratio:.2f} times; wanted at most {WANTED}:"
                     f" {'met' if ratio <= WANTED else 'NOT MET'}")
            rows.append(dict(case=f"{what}, {name}", ratio=ratio, p99=values, quiet=[s[name] for s in before + after],
                             seconds=seconds, met=ratio <= WANTED))
        return rows


def measure(bench, dynode, say, servers, start_node, options):
    say("\n== three nodes (2 shards each, N=2, R=W=2): clients while hints go home, and while a wiped node is filled")
    table = dict(n=2, r=2, w=2)
    starts = [lambda i=i: start_node(servers, i, 3, table) for i in range(3)]
    run = Run(bench, dynode, say, servers, starts, options)
    time.sleep(4)  # links come up
    most = run.load("a", duration="3s")["rate"]
    run.rate = max(100, int(most * options.share / 100))
    say(f"{most:,.0f} operations/s at most; {options.share} % of that: {run.rate}")
    rows = []

    before = run.quiet(options.quiet)
    run.stop(2, wipe=False)
    run.load("put", no_load=True, operations=options.records)
    waiting = hints(status(dynode, run.addresses[0]))
    say(f"{waiting:,} hints wait")
    run.nodes[2] = starts[2]()
    during, seconds = run.while_repairing(lambda: hints(status(dynode, run.addresses[0])))
    rows += run.compare(f"replay of {waiting:,} hints", before, during, run.quiet(options.quiet), seconds)

    before = run.quiet(options.quiet)
    run.stop(2, wipe=True)
    run.nodes[2] = starts[2]()
    since = time.monotonic()
    during, seconds = run.while_repairing(lambda: 0 if is_equal(status(dynode, run.addresses[0]), "n2", since) else 1)
    nodes = status(dynode, run.addresses[0])
    taken = total(nodes, "objects_in", "n2")
    rows += run.compare(f"a wiped node takes in {taken:,} objects", before, during, run.quiet(options.quiet), seconds)
    whole = seconds < options.limit
    met = whole and seconds * max(1, EQUAL_OBJECTS / max(1, taken)) < EQUAL_S
    say(f"  proven equal after {seconds:.0f} s, {taken / seconds:,.0f} objects of {VALUE_BYTES} bytes a second: {EQUAL_OBJECTS:,} take"
        f" {EQUAL_OBJECTS * seconds / max(1, taken):.0f} s; wanted under {EQUAL_S}: {'met' if met else 'NOT MET'}")
    rows.append(dict(case="a wiped node is equal again", seconds=seconds, objects=taken, met=met))
    say("  counters: " + ", ".join(f"{name} {total(nodes, name)}" for name in ("exchanges", "differing", "objects_in", "overloaded",
                                                                               "errors", "dropped", "dirty")))
    return rows
