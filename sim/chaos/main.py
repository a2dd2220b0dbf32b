"""Chaos: a cluster of real processes under everything that can be done to processes, links and disks, with clients that write
down what they asked and heard; then all is healed, every key is read, and the checkers of the simulated worlds judge it."""
import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
HELP = """\
usage: sim/run chaos [--minutes M] [--nodes N] [--shards S] [--seed X] [--at-once F] [--sessions C] [--keys K] [--think MS]
                     [--only KIND,...] [--with KIND,...] [--converge SECONDS] [--control] [--plan] [--keep DIR]

Builds dynode, starts N nodes, each in a network namespace and on a small file system of its own (as root; else on loopback
addresses and without what needs more), and lets a plan of faults loose on them, drawn from the seed, while clients read and
write. Then all is healed, every key is read through every node, and every answer there was is judged.

  --minutes M    how long, 0.1 to 10000 (default 2)
  --nodes N      3 to 16 (default 5)
  --shards S     of each node (default 2)
  --seed X       of the plan, and of what clients do; default: a fresh one, which is printed
  --at-once F    faults under way at a time (default 3)
  --sessions C   clients (default 16), --think MS: each rests so long at most before an operation (default 20)
  --keys K       of each of the two tables, one that keeps siblings and one where the last write wins (default 40)
  --only KINDS   these faults alone: kill, pause, full, power, wipe, flip, cut, cut-way, isolate, split, slow, loss,
                 sync
  --with KINDS   these too, which are more than the quorums bear: old
  --converge S   nobody reads for S seconds in the end, and then every node must have everything by itself
  --control      quorums of one home, judged as if they overlapped: now something has to be found wrong
  --plan         print the plan, and do nothing
  --keep DIR     keep configurations, logs, data and histories in DIR; else they are removed, unless something was wrong

The names: kill (SIGKILL), pause (SIGSTOP), full (disk), power (lost, with what was not synced), cut (a link, both ways),
cut-way (one way), isolate (a node, from clients too), split (some from the others), slow (a node's links), loss (of packets),
sync (of a disk is slow), wipe (a disk), flip (bits of all pages of a table, so that a shard loses its store), old (a directory is
put back as it was). A disk is lost only when all homes are proven equal since the last loss (dynode status): until then the plan
waits with it, and the summary counts what was left out. Exit status: 0 if all is good, 1 if something was wrong, 2 for wrong
arguments, 130 when interrupted."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 120  # until a healed cluster answers everything, on a machine that has other work
SETTINGS = "store:\n  cache: 32MB\n  reserve: 16MB\n  checkpoint_seconds: 5\n"


def options():
    parser = argparse.ArgumentParser("sim/run chaos", add_help=False, usage=HELP.partition("\n\n")[0][len("usage: "):])
    parser.add_argument("--program", default="build/release/src/cli/dynode")
    parser.add_argument("--judge", default="build/release/sim/world/dynode-judge")
    parser.add_argument("--slow-disk", default="build/release/sim/chaos/libslow_disk.so")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    for name, default in (("nodes", 5), ("shards", 2), ("at-once", 3), ("sessions", 16), ("keys", 40), ("think", 20), ("converge", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only")
    parser.add_argument("--with", dest="more", default="")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--keep")
    parser.add_argument("--only-arguments", action="store_true")  # sim/run asks before it builds
    chosen = parser.parse_args()
    for good, what in ((0.1 <= chosen.minutes <= 10000, "--minutes is 0.1 to 10000"), (3 <= chosen.nodes <= 16, "--nodes is 3 to 16"),
                       (1 <= chosen.shards <= 64, "--shards is 1 to 64"), (1 <= chosen.sessions <= 1000, "--sessions is 1 to 1000"),
                       (1 <= chosen.keys <= 100000, "--keys is 1 to 100000"), (chosen.at_once >= 1, "--at-once is at least 1"),
                       (chosen.think >= 0 and chosen.converge >= 0 and chosen.seed >= 0, "--think, --converge, --seed: no less than 0")):
        if not good:
            parser.error(what)
    chosen.more = [kind for kind in chosen.more.split(",") if kind]
    chosen.only = [kind for kind in chosen.only.split(",") if kind] if chosen.only else None
    for kind in chosen.more:
        if kind not in UNSURVIVED:
            parser.error(f"--with is of {', '.join(UNSURVIVED)}")
    for kind in chosen.only or ():
        if kind not in (*PROCESS, *LINKS):
            parser.error(f"--only is of {', '.join((*PROCESS, *LINKS))}")
    if chosen.only_arguments:
        sys.exit(0)
    for program in (chosen.program, chosen.judge):
        if not os.access(program, os.X_OK):
            parser.error(f"{program} cannot be run")
    return chosen


class Chaos:
    def __init__(self, chosen, folder, own_network, may_mount):
        self.chosen, self.folder = chosen, folder
        self.view = View(chosen.seed, chosen.minutes * 60)
        self.faults = []  # what the product did that it must not do
        self.network = Namespaces(chosen.nodes) if own_network else Loopback(chosen.nodes)
        disk_kind = disks.best(folder, may_mount)
        slow_disks = os.path.exists(chosen.slow_disk)
        kinds, left_out = kinds_of(self.network, disk_kind, slow_disks, chosen.more)
        if chosen.only:
            kinds = kinds & set(chosen.only) | set(chosen.more)
        self.plan = draw(self.random_of("plan"), chosen.minutes * 60, chosen.nodes, kinds, chosen.at_once) if kinds else []
        self.introduce(disk_kind, kinds, left_out)
        if chosen.plan:
            return
        self.disks = []
        for number in range(chosen.nodes):
            self.disks.append(disk_kind(folder, f"node{number + 1}"))
        self.quorum = 1 if chosen.control else 2
        self.cluster = Cluster(chosen.program, folder, self.network.hosts, chosen.shards,
                               "tables:\n" + "".join(
                                   f"  - {{ name: {name}, rule: {rule}, n: 3, r: {self.quorum}, w: {self.quorum} }}\n"
                                   for name, rule in (("kept", "siblings"), ("last", "lww"))), SETTINGS)
        self.stations = [Station(node, number, self.disks[number], self.network.enter(number))
                         for number, node in enumerate(self.cluster.nodes)]
        self.slow_disks = slow_disks
        for station in self.stations if slow_disks else ():
            station.node.environment = station.disk.environment(os.path.abspath(chosen.slow_disk))

    def random_of(self, name):
        return random.Random(f"{self.chosen.seed} {name}")

    def say(self, text):
        self.view.say(text)

    def wrong(self, text):
        self.faults.append(text)
        self.view.keep(f"WRONG: {text}")

    def introduce(self, disk_kind, kinds, left_out):
        print(f"seed {self.chosen.seed}: {self.chosen.nodes} nodes, {self.chosen.minutes:g} minutes, {len(self.plan)} faults of {', '.join(sorted(kinds))}")
        print(f"network: {self.network.about}\ndisks: each {disk_kind.kind}")
        if left_out and not self.chosen.only:
            print(f"left out here: {', '.join(left_out)}")
        for kind, why in UNSURVIVED.items():
            if kind not in kinds:
                print(f"left out: {kind} (--with {kind}); {why}")
        sys.stdout.flush()

    async def run(self):
        for number in ENDINGS:
            asyncio.get_running_loop().add_signal_handler(number, asyncio.current_task().cancel)
        self.say("starting the nodes")
        for why in await asyncio.gather(*(station.start("new") for station in self.stations)):
            if why:
                raise RuntimeError(why)
        await asyncio.to_thread(self.cluster.wait_linked, PATIENCE_S)
        await asyncio.to_thread(self.cluster.wait_filled, PATIENCE_S)
        print("to look around inside: nsenter --net --mount --target PID; " if self.network.can else "",
              ", ".join(f"{station.node.name} is process {station.node.process.pid}" for station in self.stations), sep="", flush=True)
        contents = [(PLAIN, PLAIN, CART, COUNTER)[key % 4] for key in range(self.chosen.keys)]
        self.recorders = [Recorder(self.folder, name, rule, held, True, 3, self.quorum, self.quorum) for name, rule, held in
                          (("kept", "siblings", contents), ("last", "lww", [PLAIN] * self.chosen.keys))]
        self.load = Load(self.stations, self.recorders, self.chosen.sessions, self.chosen.think / 1000, self.random_of,
                         int.from_bytes(os.urandom(6), "big") << 12, self.chosen.control, self.say)
        self.storm = Storm(self.stations, self.network, self.plan, self.slow_disks, self.say, self.wrong)
        self.view.storm, self.view.load, self.view.phase = self.storm, self.load, "chaos"
        viewing = asyncio.create_task(self.view.run(self.stations))
        try:
            await self.weather()
        finally:
            viewing.cancel()
            await asyncio.gather(viewing, return_exceptions=True)

    async def weather(self):
        began = time.monotonic()
        self.load.start()
        storming = asyncio.create_task(self.storm.run())
        try:
            while not storming.done() or time.monotonic() - began < self.chosen.minutes * 60:
                await asyncio.sleep(0.5)
                if storming.done():
                    storming.result()
                if self.load.broken():
                    raise self.load.broken()
        finally:
            if not storming.done():
                storming.cancel()
                await asyncio.gather(storming, return_exceptions=True)
        self.seconds = time.monotonic() - began
        self.say("the storm is over: healing")
        self.view.phase = "healing"
        await self.storm.heal()
        await asyncio.sleep(2)  # in fair weather
        await self.load.stop()
        await self.sweep()

    async def sweep(self):
        """Every key through every node. Unless the cluster is to converge by itself, all homes are asked each time."""
        try:
            await asyncio.to_thread(self.cluster.wait_linked, PATIENCE_S)
        except (RuntimeError, OSError) as error:
            self.wrong(f"in the end, {error}")
            return
        self.view.phase, level = "reading everything", {"level": pb.ALL}
        if self.chosen.converge:
            self.say(f"nobody reads for {self.chosen.converge} s")
            await asyncio.sleep(self.chosen.converge)
            level = {"r": 1}
        self.say("reading every key through every node")
        for recorder in self.recorders:
            for station in self.stations:
                why = await read_all(recorder, station, level, PATIENCE_S,
                                     lambda key, seen: recorder.final(key, station.number, seen))
                if why:
                    self.wrong(why)
                    return

    # --- what comes of it ---

    def stop(self):
        for station in getattr(self, "stations", ()):
            station.node.terminate()
        statuses = [station.node.wait(60) for station in getattr(self, "stations", ())]
        return statuses

    def remove_disks(self):
        for disk in getattr(self, "disks", ()):
            disk.remove()

    def judge(self):
        for recorder in self.recorders:
            recorder.close()
            good, lines = recorder.judge(self.chosen.judge)
            said = ", ".join(line.partition(" ")[2] for line in lines if line.startswith("good "))
            print(f"judged       {recorder.count:,} operations on {len(recorder.contents)} keys of {recorder.table} ({recorder.rule}): good in {said}")
            self.faults += [f"{recorder.table}: {line}" for line in lines if not line.startswith("good ")]
            if not good and not any(line.startswith("FAULT") for line in lines):
                self.faults.append(f"{recorder.table}: the judge failed")

    def summary(self):
        tally = self.load.tally
        print("\nSummary")
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(self.storm.counts.items()))
        late = f"; {self.storm.left_out} lost disks left out, as it was too soon after others" if self.storm.left_out else ""
        late += f"; {self.storm.late} left out, as this machine stood still" if self.storm.late else ""
        print(f"faults       {sum(self.storm.counts.values())}: {counts}{late}; {sum(station.starts for station in self.stations)} starts of nodes")
        print(f"operations   {tally.ok:,} answered in {self.seconds:.0f} s ({tally.ok / self.seconds:.0f}/s), {tally.failed:,} not")
        if tally.latencies:
            ordered = sorted(tally.latencies)
            print("latency      " + ", ".join(f"p{share:g} {1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]:.1f} ms"
                                              for share in (50, 99, 99.9)))
        for what in KINDS:
            share, asked = tally.availability(what)
            causes = ", ".join(f"{cause} {count}" for cause, count in sorted(tally.causes.get(what, {}).items(), key=lambda pair: -pair[1]))
            print(f"available    {100 * share:.3f} % of {asked:,} {what}s{'; else ' * bool(causes)}{causes}")
        asked, good = tally.whatever
        print("             whose node was up and in reach of another all the time; and "
              f"{100 * good / max(asked, 1):.3f} % of {asked:,} requests whose node was up, if cut off")
        print(f"silence      {1000 * tally.longest_gap:.0f} ms at most between two writes that succeeded, somewhere in the cluster")
        self.judge()
        for fault in self.faults:
            print(f"WRONG        {fault}")
        print("verdict      " + ("nothing acknowledged was lost, and no answer was wrong" if not self.faults else
                                 f"WRONG. Again: sim/run chaos {' '.join(self.repeat())}"), flush=True)

    def repeat(self):
        chosen = self.chosen
        yield f"--seed {chosen.seed} --minutes {chosen.minutes:g} --nodes {chosen.nodes} --shards {chosen.shards} --at-once {chosen.at_once}"
        yield f"--sessions {chosen.sessions} --keys {chosen.keys} --think {chosen.think}"
        if chosen.only:
            yield f"--only {','.join(chosen.only)}"
        if chosen.more:
            yield f"--with {','.join(chosen.more)}"
        if chosen.control:
            yield "--control"
        if chosen.converge:
            yield f"--converge {chosen.converge}"


def main(chosen):
    own_network, may_mount = network.apart()
    folder = os.path.abspath(chosen.keep) if chosen.keep else tempfile.mkdtemp(prefix="dynode-chaos-")
    if chosen.keep:
        os.makedirs(folder)
    keep, status, chaos = bool(chosen.keep), 130, None
    for number in ENDINGS:
        signal.signal(number, interrupt)
    try:
        chaos = Chaos(chosen, folder, own_network, may_mount)
        if chosen.plan:
            print("\n".join(f"{fault.at:7.1f} - {fault.until:7.1f}  {fault.text()}" for fault in chaos.plan))
            return 0
        asyncio.run(chaos.run())
        for number in ENDINGS:
            signal.signal(number, interrupt)
        for station, ended in zip(chaos.stations, chaos.stop()):
            if ended != 0:
                chaos.wrong(f"{station.node.name} ended with status {ended}; its log:\n{station.node.tail(40)}")
        chaos.summary()
        status = 1 if chaos.faults else 0
        keep = keep or bool(chaos.faults)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nstopping", flush=True)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"\nsim/run chaos: {error}{getattr(error, 'stderr', None) or ''}", file=sys.stderr, flush=True)
        status = 1
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # the rest is short and must be done
        if chaos:
            chaos.stop()
            chaos.remove_disks()
        if keep:
            print(f"histories, configurations and logs: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return status


def interrupt(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
        print(HELP)
        sys.exit(0)
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "local")]
    from faults import LINKS, PROCESS, UNSURVIVED, Station, Storm, draw, kinds_of
    arguments = options()
    import subprocess

    import disks
    import network
    from client import pb
    from network import Loopback, Namespaces
    from nodes import Cluster
    from recorder import CART, COUNTER, PLAIN, Recorder
    from sessions import KINDS, Load, read_all
    from view import View
    sys.exit(main(arguments))
