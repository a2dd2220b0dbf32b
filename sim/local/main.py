"""The local cluster: real nodes as processes on this machine, a real data set, one node killed, and everything counted."""
import argparse
import asyncio
import fcntl
import glob
import ipaddress
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HELP = """\
usage: sim/run [local] [--nodes N] [--shards S] [--data DIR] [--host ADDRESS] [--stop]

Builds dynode, starts N nodes as processes on loopback addresses of their own, loads the machine's Debian package index,
reads it back through other nodes, kills a node in the middle of a load, starts it again, and sums up. Then the cluster
stays up, for you to try, until Ctrl-C.

  --nodes N    1 to 50 nodes (default 5)
  --shards S   shards of each node, 1 to 256 (default 2)
  --data DIR   keep the nodes' data in DIR; a later run with the same DIR finds it again. Default: a temporary directory,
               removed at the end
  --host A     the first node's loopback address (default 127.0.0.11); the others follow, so that clusters can be side by side
  --stop       end after the summary

sim/run chaos lets everything befall real nodes and judges what clients hear; sim/run world simulates whole clusters in
virtual time: each has --help."""
TABLE = "packages"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def options():
    parser = argparse.ArgumentParser("sim/run", add_help=False, usage=HELP.partition("\n")[0][len("usage: "):])
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--program", default="build/release/src/cli/dynode")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--data")
    parser.add_argument("--host", default="127.0.0.11")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--only-arguments", action="store_true")  # sim/run asks before it builds
    chosen = parser.parse_args()
    if chosen.help:
        print(HELP)
        sys.exit(0)
    if not 1 <= chosen.nodes <= 50 or not 1 <= chosen.shards <= 256:
        parser.error("--nodes must be 1 to 50, --shards 1 to 256")
    if not re.fullmatch(r"127(\.\d{1,3}){3}", chosen.host):
        parser.error("--host must be an address of the loopback interface: 127.x.y.z")
    if chosen.only_arguments:
        sys.exit(0)
    return chosen


def say(text=""):
    print(text, flush=True)


def size(count):
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Story:
    def __init__(self, cluster, shards, records, source):
        self.cluster, self.shards, self.records, self.source = cluster, shards, records, source
        self.n = min(3, len(cluster.nodes))
        self.majority = self.n // 2 + 1
        self.wrong = []
        self.summary = []

    def note(self, what, text):
        self.summary.append(f"  {what:22}{text}")

    def keep(self, result):
        self.wrong += result.wrong

    async def run(self):
        nodes = self.cluster.nodes
        self.fleet = Fleet(nodes, self.shards)
        connection = await self.fleet.connection(0, 0)
        created, = await connection.request([create_table(TABLE, "lww", n=self.n, r=self.majority, w=self.majority)])
        if created.status not in (pb.OK, pb.TABLE_EXISTS):
            raise RuntimeError(f"no table: {describe(created)}")

        say(f"\n2. Load {len(self.records):,} records into the lww table `{TABLE}` (N={self.n} R={self.majority} W={self.majority}), "
            f"through every node")
        loaded = await self.fleet.put_all("put", TABLE, self.records)
        self.keep(loaded)
        raw = sum(len(key) + len(value) for key, value in self.records.items())
        self.note("records", f"{len(self.records):,}, {size(raw)}: {self.source}")
        self.note("load", self._speed(loaded))

        say(f"\n3. Read all of it back, each record through another node than took it, and compare byte for byte")
        read = await self.fleet.get_all("get", TABLE, self.records,
                                        choose_node=lambda key: (loaded.source[key] + 1) % len(nodes))
        self.keep(read)
        self.note("read back", self._speed(read) + f"; {len(read.wrong):,} differ")

        keys = list(self.records)[:500]
        gets = await self.fleet.one_at_a_time([get(TABLE, key) for key in keys])
        puts = await self.fleet.one_at_a_time([put(TABLE, key, self.records[key]) for key in keys])
        self.note("one at a time", f"get p50 {percentile(gets, .5):.2f} ms, p99 {percentile(gets, .99):.2f} ms; "
                  f"put p50 {percentile(puts, .5):.2f} ms, p99 {percentile(puts, .99):.2f} ms")
        if len(nodes) >= 3:
            await self._kill()
        else:
            self.note("killed", "nothing: that takes 3 nodes")
        await self.fleet.close()
        self.note("on disk", ", ".join(f"{node.name} {size(node.disk_bytes())}" for node in nodes))
        self.note("lost", "nothing" if not self.wrong else f"{len(self.wrong):,} RECORDS OR ANSWERS WRONG")
        for key, why in self.wrong[:10]:
            self.note("", f"{key.decode(errors='replace')}: {why}")

    def _speed(self, result):
        return (f"{result.rate:,.0f}/s in {result.seconds:.1f} s; a request of {BATCH}: p50 {result.percentile_ms(.5):.1f} ms, "
                f"p99 {result.percentile_ms(.99):.1f} ms")

    async def _kill(self):
        nodes, victim = self.cluster.nodes, self.cluster.nodes[2]
        again = {key: value + b"\nLoaded: again" for key, value in self.records.items()}
        killed = {}

        def kill_in_the_middle(done):
            if not killed and done > len(again) // 2:
                held = self.held
                victim.kill()
                killed.update(at=done, when=time.monotonic(), held=held)
                say(f"\n  killed {victim.name} (SIGKILL) after {done:,} writes; the load goes on")

        say(f"\n4. Load everything again with a line more, read at the same time, and kill {victim.name} half way")
        self.held = await self._held(victim)
        loaded = Result()
        # What was acknowledged before a read began must be what it returns: R + W > N.
        reader = Reader(self.fleet, TABLE, lambda key: [again[key]] if key in loaded.source else [self.records[key], again[key]])
        reading = asyncio.create_task(reader.run(list(again), 0))
        await self.fleet.put_all("put", TABLE, again, on_progress=kill_in_the_middle, result=loaded)
        reader.stopping = True
        await reading
        if not killed:
            raise RuntimeError("the load ended before anything was killed")
        self.keep(loaded)
        self.keep(reader.result)
        self.note("killed", f"{victim.name} with SIGKILL after {killed['at']:,} of {len(again):,} writes")
        self.note("meanwhile", f"{len(loaded.wrong)} writes and {len(reader.result.wrong)} of {reader.reads:,} reads failed; "
                  f"{loaded.retries + reader.result.retries} requests went to another node; longest silence "
                  f"{1000 * max(loaded.longest_gap, 0):.0f} ms")

        say(f"  with {victim.name} still dead:")
        read = await self.fleet.get_all("get", TABLE, again)
        self.keep(read)
        self.note("with a node dead", f"all {len(again):,} read back; {len(read.wrong):,} differ")

        say(f"\n5. Start {victim.name} again and read everything through it")
        began = time.monotonic()
        victim.start()
        await asyncio.to_thread(victim.wait_ready)
        await asyncio.to_thread(self.cluster.wait_linked)
        took = time.monotonic() - began
        held = await self._held(victim)
        if held < killed["held"]:
            self.wrong.append((victim.name.encode(), f"held {killed['held']:,} records before, {held:,} after its restart"))
        through = await self.fleet.get_all(f"get through {victim.name}", TABLE, again, choose_node=lambda key: 2)
        self.keep(through)
        self.note("restarted", f"{victim.name} back after {took:.1f} s with {held:,} records on its disk ({killed['held']:,} before); "
                  f"all {len(again):,} read through it, {len(through.wrong):,} differ")

    async def _held(self, node):
        """How many records of the table the node itself holds."""
        count, cursor = 0, b""
        connection = await self.fleet.connection(self.cluster.nodes.index(node), 0)
        while True:
            answer, = await connection.request([scan(TABLE, cursor=cursor, count_only=True, limit=10000)], 30000)
            if answer.status != pb.OK:
                raise RuntimeError(f"{node.name} does not count its keys: {describe(answer)}")
            count, cursor = count + answer.scan.count, answer.scan.cursor
            if not cursor:
                return count


def goodbye(cluster, program, data):
    addresses = ",".join(node.address for node in cluster.nodes)
    say("\nThe cluster stays up until Ctrl-C. Try it:\n")
    say(f"  export DYNODE_ADDRESS={addresses}")
    say(f"  alias dynode={shlex.quote(os.path.abspath(program))}")
    sample = next(iter(PACKAGES)).decode(errors="replace")
    for command in ("dynode status", f"dynode get {TABLE} {shlex.quote(sample)} --raw", f"dynode ring {TABLE} {shlex.quote(sample)}",
                    "dynode table create notes", "dynode put notes hello 'first words'", "dynode get notes hello",
                    f"kill -9 {cluster.nodes[0].process.pid}     # {cluster.nodes[0].name}; then go on",
                    f"dynode serve --config {shlex.quote(cluster.nodes[0].config)}     # it is back, until a Ctrl-C of its own"):
        say(f"  {command}")
    say(f"\nConfigurations, logs and data: {data}")


def interruptible():
    def interrupt(*_):
        raise KeyboardInterrupt
    for number in ENDINGS:
        signal.signal(number, interrupt)


async def until_interrupted(story):
    """An exception out of a signal handler would hit the event loop anywhere: here a signal cancels the task instead."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in ENDINGS:
        loop.add_signal_handler(number, task.cancel)
    await story


def main(chosen):
    global PACKAGES
    interruptible()
    data = os.path.abspath(chosen.data) if chosen.data else tempfile.mkdtemp(prefix="dynode-")
    first = ipaddress.IPv4Address(chosen.host)
    hosts = [str(first + index) for index in range(chosen.nodes)]
    cluster, status = None, 130  # until there is more to say: interrupted
    try:
        say(f"1. Start {chosen.nodes} nodes of {chosen.shards} shard{'s' * (chosen.shards > 1)}")
        remember(data, chosen)
        cluster = Cluster(chosen.program, data, hosts, chosen.shards, settings="store:\n  cache: 64MB\n")
        cluster.start()
        for node in cluster.nodes:
            say(f"  {node.name}  process {node.process.pid}, clients {node.address}")
        PACKAGES, source = packages.read()
        story = Story(cluster, chosen.shards, PACKAGES, source)
        asyncio.run(until_interrupted(story.run()))
        interruptible()
        say("\nSummary")
        say("\n".join(story.summary))
        status = 1 if story.wrong else 0
        if not chosen.stop:
            goodbye(cluster, chosen.program, data)
            while True:
                signal.pause()
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("\nstopping")
    except (RuntimeError, OSError) as error:
        print(f"\nsim/run: {error}", file=sys.stderr, flush=True)
        if "the port is in use" in str(error):
            print("Another cluster may be running there: stop it, or give other addresses, such as --host 127.0.1.1",
                  file=sys.stderr, flush=True)
        status = 1
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # the rest is short and must be done
        if cluster:
            cluster.stop()
        if not chosen.data:
            shutil.rmtree(data, ignore_errors=True)
    return status


def remember(data, chosen):
    """A directory keeps the shape it was made with."""
    path, shape = os.path.join(data, "shape"), f"--nodes {chosen.nodes} --shards {chosen.shards}\n"
    os.makedirs(data, exist_ok=True)
    for lock in glob.glob(os.path.join(glob.escape(data), "*", "lock")):
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RuntimeError(f"{os.path.dirname(lock)} is in use: stop the cluster there, or give another --data") from None
    if os.path.exists(path):
        with open(path) as file:
            made = file.read()
        if made != shape:
            raise RuntimeError(f"{data} was made with {made.strip()}: say so again, or give another --data")
    with open(path, "w") as file:
        file.write(shape)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
        print(HELP)
        sys.exit(0)
    arguments = options()
    import packages
    from client import create_table, get, pb, put, scan
    from load import BATCH, Fleet, Reader, Result, describe
    from nodes import Cluster
    sys.exit(main(arguments))
