"""Benchmarks: one dynode node beside redis, three nodes alone, and the space that records take.

The same generator (`dynode bench`) drives both servers, with the same keys and values, on the same two cores as they run
on; so a figure is a ratio taken within one run, and the machine's mood cancels out. Redis runs with `appendonly yes,
appendfsync always`, dynode syncs before it answers. Each comparison is run --runs times, A B A B, and medians are shown
with the least and the most.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import kill_bench
import repair_bench

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DYNODE = os.path.join(ROOT, "build/release/src/cli/dynode")
RECORDS, KEY_BYTES, VALUE_BYTES = 100_000, 20, 200
SHARDS = 2  # of each node
LOG_BYTES_MAX = SHARDS * (2 * 64 + 96) * 2**20  # what configs/node.yaml says of checkpoint_log, which is 64MB
CACHE_MB = 64  # of the part about space; the others keep the default
NETWORK = f"127.{1 + os.getpid() % 250}.7"  # of the nodes: two runs do not meet


def say(text):
    print(text, flush=True)


class Servers:
    """Processes started here, and only those, ended by pid."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="dynode-bench-")
        self.processes = []

    def start(self, command, address, name):
        log = open(os.path.join(self.folder, name + ".log"), "w")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                socket.create_connection(address, 1).close()
                return process.pid
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{name} does not start: " + open(log.name).read())

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes = []

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_redis(servers, port):
    folder = os.path.join(servers.folder, "redis")
    os.makedirs(folder, exist_ok=True)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
               "--appendonly", "yes", "--appendfsync", "always"]
    return servers.start(command, ("127.0.0.1", port), "redis")


def start_node(servers, index, count, table, cache_mb=256, pin=False):
    """Node @index of @count, with one table, on ports of its own."""
    node = {"name": f"n{index}", "data": os.path.join(servers.folder, f"n{index}")}
    lines = [f"data: {node['data']}", f"shards: {SHARDS}", f"pin: {str(pin).lower()}", "store:", f"  cache: {cache_mb}MB", "log:", "  level: warn"]
    clients = f"tcp://{NETWORK}.{11 + index}:7400"
    if count > 1:
        lines += ["cluster:", "  id: 00000000000000c1", "node:", f"  id: {index + 1:016x}", "members:"]
        for i in range(count):
            lines += [f"  - id: {i + 1:016x}", f"    name: n{i}", f"    peer: tcp://{NETWORK}.{11 + i}:7500",
                      f"    client: tcp://{NETWORK}.{11 + i}:7400"]
    else:
        lines += ["listen:", "  client:", f"    - {clients}"]
    lines += ["tables:", "  - name: bench", "    rule: lww"] + [f"    {k}: {v}" for k, v in table.items()]
    path = os.path.join(servers.folder, f"n{index}.yaml")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    pid = servers.start([DYNODE, "serve", "--config", path], (f"{NETWORK}.{11 + index}", 7400), node["name"])
    return clients, pid, node["data"]


def bench(addresses, mixes, pids=(), may_fail=False, **options):
    """Run the generator; {phase: its figures}."""
    sizes = dict(records=RECORDS, key_bytes=KEY_BYTES, value_bytes=VALUE_BYTES)
    options = sizes | options
    command = [DYNODE, "bench", "--json", "-a", ",".join(addresses)]
    for pid in pids:
        command += ["--server-pid", str(pid)]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    done = subprocess.run(command + mixes, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 and not (may_fail and done.stdout):
        sys.exit(f"{' '.join(command + mixes)}: exit status {done.returncode}\n{done.stderr}{done.stdout}")
    phases = {phase["phase"]: phase for phase in json.loads(done.stdout)["phases"]}
    for name, phase in phases.items():
        if phase["errors"] and not may_fail:
            sys.exit(f"{name}: {phase['errors']} errors: {phase['statuses']}")
    return phases


def middle(values):
    return statistics.median(values)


def spread(values, form="{:,.0f}"):
    return f"{form.format(middle(values)):>9} ({form.format(min(values))} to {form.format(max(values))})"


def latency(phase, name):
    return next(iter(phase["latency"].values()))[name]


CASES = [
    # name, options, figure, better, target as a ratio dynode / redis
    ("put, 64 connections, 16 in flight", "put", dict(connections=64, in_flight=16), "rate", 0.4),
    ("get, 64 connections, 16 in flight", "get", dict(connections=64, in_flight=16), "rate", 0.3),
    ("put, 64 connections, 1 in flight", "put", dict(connections=64, in_flight=1), "rate", 0.6),
    ("get, 64 connections, 1 in flight", "get", dict(connections=64, in_flight=1), "rate", 0.6),
    # A client that knows the ring has a connection to each shard, so that no request hops: --own-keys.
    ("get, 1 connection, round trip in us", "get", dict(connections=1, in_flight=1, own_keys=True), "round trip", 1.4),
    # One that has a single connection for all keys: half of them hop to the other shard and back.
    ("the same, keys of both shards", "get", dict(connections=1, in_flight=1), "round trip", None),
]


def figure_of(phase, kind):
    if kind == "rate":
        return phase["rate"]
    return next(iter(phase["latency"].values()))["mean_ms"] * 1000


def one(options):
    """One node beside redis."""
    say("\n== one node (2 shards, N=1, synced before it answers) beside redis (appendfsync always)")
    servers = Servers()
    try:
        redis = dict(addresses=["tcp://127.0.0.1:7379"], pids=[start_redis(servers, 7379)], protocol="resp")
        address, pid, _ = start_node(servers, 0, 1, dict(n=1, r=1, w=1))
        dynode = dict(addresses=[address], pids=[pid])
        for server in (redis, dynode):
            bench(mixes=["get"], duration="1s", **server)
        rows = []
        for name, mix, load, kind, target in CASES:
            ours, theirs, ratios, our_cpu, their_cpu = [], [], [], [], []
            for _ in range(options.runs):
                a = bench(mixes=[mix], duration=f"{options.seconds}s", no_load=True, **load, **dynode)[mix]
                theirs_load = {key: value for key, value in load.items() if key != "own_keys"}
                b = bench(mixes=[mix], duration=f"{options.seconds}s", no_load=True, **theirs_load, **redis)[mix]
                ours.append(figure_of(a, kind))
                theirs.append(figure_of(b, kind))
                ratios.append(ours[-1] / theirs[-1])
                our_cpu.append(a["server_cpu_us_per_operation"])
                their_cpu.append(b["server_cpu_us_per_operation"])
            met = target is None or (middle(ratios) >= target if kind == "rate" else middle(ratios) <= target)
            wanted = f"wanted: {'at least' if kind == 'rate' else 'at most'} {target}: {'met' if met else 'NOT MET'}"
            say(f"{name:38} dynode {spread(ours)}  redis {spread(theirs)}")
            say(f"{'':38} ratio {spread(ratios, '{:.2f}')}  {wanted if target else 'nothing wanted'};"
                f"  server CPU us/op: {middle(our_cpu):.1f} and {middle(their_cpu):.1f}")
            rows.append(dict(case=name, dynode=ours, redis=theirs, ratio=ratios, target=target, met=met,
                             dynode_cpu_us=our_cpu, redis_cpu_us=their_cpu))
        return rows
    finally:
        servers.close()


def three(options):
    """Three nodes, N=3, R=W=2."""
    say("\n== three nodes (2 shards each, N=3, R=W=2, synced on every replica before it counts)")
    servers = Servers()
    try:
        nodes = [start_node(servers, i, 3, dict(n=3, r=2, w=2)) for i in range(3)]
        target = dict(addresses=[node[0] for node in nodes], pids=[node[1] for node in nodes])
        time.sleep(1)
        bench(mixes=["get"], duration="1s", **target)
        rows = []
        # Latencies first: what a full load leaves behind (checkpoints) is not what they are about.
        for mix in ("put", "get"):
            runs = [bench(mixes=[mix], duration=f"{options.seconds}s", no_load=True, connections=64, in_flight=1, **target)[mix]
                    for _ in range(max(options.runs, 5))]
            p99 = [latency(run, "p99_ms") for run in runs]
            met = middle(p99) < 10
            say(f"{mix}, 64 connections, 1 in flight: p99 {spread(p99, '{:.1f}')} ms, wanted under 10: {'met' if met else 'NOT MET'};"
                f" {middle([run['rate'] for run in runs]):,.0f} op/s, p50 {middle([latency(run, 'p50_ms') for run in runs]):.1f} ms")
            rows.append(dict(case=f"3 nodes, {mix}, p99 ms", p99=p99, target=10, met=met))
        for mix, wanted in (("put", 25_000), ("get", 45_000)):
            runs = [bench(mixes=[mix], duration=f"{options.seconds}s", no_load=True, connections=64, in_flight=16, **target)[mix]
                    for _ in range(options.runs)]
            rates, cpu = [run["rate"] for run in runs], [run["server_cpu_us_per_operation"] for run in runs]
            met = middle(rates) >= wanted
            say(f"{mix}, 64 connections, 16 in flight: {spread(rates)} op/s, wanted {wanted:,}: {'met' if met else 'NOT MET'};"
                f" server CPU {middle(cpu):.1f} us/op; p99 {middle([latency(run, 'p99_ms') for run in runs]):.1f} ms")
            rows.append(dict(case=f"3 nodes, {mix}", rate=rates, target=wanted, met=met, cpu_us=cpu))
        return rows
    finally:
        servers.close()


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def disk_bytes(folder):
    """(data, log) in bytes that the files take on disk."""
    data = log = 0
    for path, _, files in os.walk(folder):
        for name in files:
            size = os.stat(os.path.join(path, name)).st_blocks * 512
            if name.startswith(("WiredTigerLog.", "WiredTigerPreplog.", "WiredTigerTmplog.")):
                log += size
            else:
                data += size
    return data, log


def space(options):
    """What 100,000 records take, in memory and on disk."""
    say(f"\n== space: 100,000 records of 200 bytes, one node of {SHARDS} shards")
    servers = Servers()
    try:
        address, pid, folder = start_node(servers, 0, 1, dict(n=1, r=1, w=1), CACHE_MB)
        bench([address], ["put", "get"], duration="3s")
        resident = resident_mb(pid)
        running = disk_bytes(folder)
        servers.stop()  # a clean stop is a checkpoint
        data, log = disk_bytes(folder)
        raw = RECORDS * (KEY_BYTES + VALUE_BYTES)
        above = resident - CACHE_MB
        say(f"resident memory: {resident:.0f} MB, {above:.0f} MB above the cache of {CACHE_MB} MB; wanted at most 50:"
            f" {'met' if above <= 50 else 'NOT MET'}")
        say(f"on disk after a checkpoint: {data / 1e6:.1f} MB for {raw / 1e6:.1f} MB of keys and values, {data / raw:.2f} times;"
            f" wanted at most 3: {'met' if data <= 3 * raw else 'NOT MET'}")
        most_log = max(running[1], log)
        say(f"log: {running[1] / 1e6:.1f} MB when the load ended, {log / 1e6:.1f} MB after the stop; wanted at most"
            f" {LOG_BYTES_MAX / 1e6:.1f}: {'met' if most_log <= LOG_BYTES_MAX else 'NOT MET'}")
        return [dict(case="memory above the cache, MB", value=above, target=50, met=above <= 50),
                dict(case="disk over raw", value=data / raw, target=3, met=data <= 3 * raw),
                dict(case="log, bytes", value=most_log, target=LOG_BYTES_MAX, met=most_log <= LOG_BYTES_MAX)]
    finally:
        servers.close()


def wait_until_met(addresses):
    """Until each of the nodes reaches all."""
    deadline = time.monotonic() + 60
    for address in addresses:
        while True:
            done = subprocess.run([DYNODE, "status", "--json", "--interval", "0s", "-a", address], capture_output=True)
            if done.returncode == 0 and all(member["reachable"] for member in json.loads(done.stdout)["members"]):
                break
            if time.monotonic() > deadline:
                sys.exit(f"{address} does not reach all nodes: {done.stdout} {done.stderr}")
            time.sleep(0.2)


def pin(options):
    """Shards pinned to cores beside shards that are not: a node alone on the machine, and three that share it."""
    say("\n== shards pinned to cores (pin: true), beside the default")
    rows = []
    for count in (1, 3):
        table = dict(n=count, r=min(count, 2), w=min(count, 2))
        rates = {(mix, pinned): [] for mix in ("put", "get") for pinned in (False, True)}
        for number in range(options.runs):
            for pinned in (number % 2 == 1, number % 2 == 0):  # neither is always the first
                servers = Servers()
                try:
                    nodes = [start_node(servers, i, count, table, pin=pinned) for i in range(count)]
                    target = dict(addresses=[node[0] for node in nodes], pids=[node[1] for node in nodes], records=20_000)
                    wait_until_met(target["addresses"])
                    bench(mixes=["get"], duration="1s", **target)
                    for mix in ("put", "get"):
                        run = bench(mixes=[mix], duration=f"{options.seconds}s", no_load=True, connections=64, in_flight=16, **target)
                        rates[mix, pinned].append(run[mix]["rate"])
                finally:
                    servers.close()
        for mix in ("put", "get"):
            ratios = [with_ / without for with_, without in zip(rates[mix, True], rates[mix, False])]
            say(f"{count} node{'s' * (count > 1)}, {mix}, 64 connections, 16 in flight: pinned {spread(rates[mix, True])}"
                f"  free {spread(rates[mix, False])}  ratio {spread(ratios, '{:.2f}')}")
            rows.append(dict(case=f"{count} nodes, {mix}, pinned", pinned=rates[mix, True], free=rates[mix, False], met=True))
    return rows


def repair(options):
    """Clients while copies are brought home."""
    servers = Servers()
    try:
        return repair_bench.measure(bench, DYNODE, say, servers, start_node, options)
    finally:
        servers.close()


def kill(options):
    """Writes while nodes die."""
    servers = Servers()
    try:
        return kill_bench.measure(DYNODE, say, servers, start_node, options)
    finally:
        servers.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], "one", "three", "space", "pin", "repair", "kill"], help="which parts; all without")
    parser.add_argument("--runs", type=int, default=5, help="of each case (default 5); medians are shown")
    parser.add_argument("--seconds", type=int, default=5, help="of each run (default 5)")
    parser.add_argument("--records", type=int, default=50_000, help="repair: of 1 KB (default 50,000)")
    parser.add_argument("--slice", type=int, default=3, help="repair: seconds of each measurement (default 3)")
    parser.add_argument("--quiet", type=int, default=5, help="repair: quiet slices before and after each (default 5)")
    parser.add_argument("--share", type=int, default=30, help="repair: the load, of the most it takes (default 30 %%)")
    parser.add_argument("--limit", type=int, default=180, help="repair: seconds after which one is given up (default 180)")
    parser.add_argument("--kill-share", type=int, default=70, help="kill: the load, of the most it takes (default 70 %%)")
    parser.add_argument("--away", type=float, default=20, help="kill: seconds until the killed node is back (default 20)")
    parser.add_argument("--json", help="write all figures to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = dict(one=one, three=three, space=space, pin=pin, repair=repair, kill=kill)
    results = {name: parts[name](options) for name in options.parts or parts}
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    missed = [row["case"] for rows in results.values() for row in rows if not row["met"]]
    say(f"\nnot met: {', '.join(missed)}" if missed else "\nall met")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
