"""Worlds by the thousand: seeds are run by several dynode-world at once, and summed up; a failing one is made smaller."""
import argparse
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # large pages for worlds: a fifth more seeds in a minute
import mutants
HELP = """\
usage: sim/run world [--seed S | --seeds A..B | --minutes M] [--jobs J] [--minimize] [--set NAME=VALUE]... [--trace [MS]]
       sim/run world --options

Runs whole clusters in virtual time, each from a seed, with everything failing together, and judges what clients heard.
The first seed that fails is told at once; the last lines are the totals, and for each seed that failed the command that
repeats it. Ctrl-C ends a hunt, with what it has found. Without seeds: fresh ones for a minute. sim/README.md shows how to
get from a failing seed to its cause.

  --seed S        one seed: its options, and what came of it
  --seeds A..B    all of these
  --minutes M     fresh seeds, one after the other, for so long
  --jobs J        so many at once (default: one for each core)
  --minimize      stop at the first seed that fails, and make it smaller: faults are turned off one by one, and the run is
                  shortened, while it goes on failing; then its story is printed. Ctrl-C: tell it as small as it is
  --set NAME=V    an option by hand instead of from the seed; --options lists all
  --trace [MS]    with --seed: the trace, on stderr, from a moment of virtual time on

Exit status: 0 if all seeds are good, 1 if one failed, 2 for wrong arguments."""
CHUNK = 8  # seeds that one process runs
SILENCE_S = 300  # a seed that takes longer hangs
TRIES = 6  # seeds that a smaller world is tried with
SEEDS = 1 << 64
JUDGED = "judged-"


def options():
    parser = argparse.ArgumentParser("sim/run world", add_help=False, usage=HELP.partition("\n")[0][len("usage: "):])
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--program", default="build/release/sim/world/dynode-world")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int)
    which.add_argument("--seeds")
    which.add_argument("--minutes", type=float)
    which.add_argument("--options", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--minimize", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--trace", nargs="?", type=int, const=0)
    parser.add_argument("--only-arguments", action="store_true")  # sim/run asks before it builds
    parser.set_defaults(range=None)
    chosen = parser.parse_args()
    if chosen.help:
        print(HELP)
        sys.exit(0)
    if chosen.seeds is not None:
        if not re.fullmatch(r"[0-9]+\.\.[0-9]+", chosen.seeds):
            parser.error("--seeds is A..B, two numbers")
        chosen.range = tuple(map(int, chosen.seeds.split("..")))
        if not chosen.range[0] <= chosen.range[1] < SEEDS:
            parser.error("--seeds A..B: A is at most B, and B below 2^64")
    if chosen.seed is not None and not 0 <= chosen.seed < SEEDS:
        parser.error("--seed is a number from 0 to 2^64 - 1")
    if chosen.minutes is not None and not 0 < chosen.minutes < 1e6:
        parser.error("--minutes is above 0")
    if chosen.trace is not None and (chosen.seed is None or chosen.minimize):
        parser.error("--trace is for one --seed, without --minimize")
    if chosen.trace is not None and chosen.trace < 0:
        parser.error("--trace begins at a virtual millisecond, 0 or later")
    if chosen.jobs < 1:
        parser.error("--jobs is at least 1")
    if chosen.only_arguments:
        sys.exit(0)
    if not os.access(chosen.program, os.X_OK):
        parser.error(f"{chosen.program} cannot be run")
    return chosen


def sets_of(sets):
    return [word for one in sets for word in ("--set", one)]


class Job:
    """One process with some seeds. It says which seed it begins, so that we know where it died."""

    def __init__(self, chosen, first, last):
        self.last, self.seed, self.heard, self.rest = last, first, time.monotonic(), b""
        self.error, self.bad = "", False
        self.process = subprocess.Popen(
            [chosen.program, "--seeds", f"{first}..{last}", "--quiet", *sets_of(chosen.set)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def lines(self):
        data = os.read(self.process.stdout.fileno(), 65536)
        self.heard = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        return data != b"", [line.decode(errors="replace") for line in lines]


class Hunt:
    def __init__(self, chosen):
        self.chosen, self.began, self.shown = chosen, time.monotonic(), 0
        self.seeds = 0
        self.totals = Counter()
        self.judged = Counter()  # in how many seeds
        self.failed = {}  # seed: why
        self.wrong = ""

    def chunks(self):
        if self.chosen.range is not None:
            first, last = self.chosen.range
            for at in range(first, last + 1, CHUNK):
                yield at, min(at + CHUNK - 1, last)
            return
        at = int.from_bytes(os.urandom(5), "big")
        until = self.began + 60 * (self.chosen.minutes or 1)
        print(f"fresh seeds from {at}", flush=True)
        while time.monotonic() < until:
            yield at, at + CHUNK - 1
            at += CHUNK

    def read(self, job, line):
        if line.startswith("run seed="):
            job.seed, job.error = int(line.split("=")[1].split()[0]), ""
        elif line.startswith("FAILED "):
            self.fail(job.seed, line.split(" ", 2)[2])
        elif line.startswith(("ok ", "bad ")):
            self.seeds += 1
            job.seed += 1
            job.bad |= line.startswith("bad ")
            for word in line.split()[2:]:
                name, _, value = word.partition("=")
                if name.startswith(JUDGED):
                    self.judged[name[len(JUDGED):]] += 1
                elif name != "hash":
                    self.totals[name] += int(value)
        elif line.startswith("dynode-world: "):
            self.wrong = line
        elif not line.startswith("repeat: ") and line.strip("= "):
            job.error = job.error or line

    def fail(self, seed, why):
        self.failed[seed] = why
        if len(self.failed) == 1:
            clear = "\r\x1b[K" if sys.stdout.isatty() else ""
            print(f"{clear}the first that failed: {command(seed, self.chosen.set)}    # {why}", flush=True)

    def end(self, job):
        """Returns the job that goes on behind the seed that killed this one, if one did. A sanitizer may end it with the
        status of a seed that failed: what counts is whether it said so, and came to its last seed."""
        status = job.process.wait()
        done = job.seed > job.last
        if self.wrong or status == -signal.SIGINT or (done and status == int(job.bad)):
            return None
        seed = min(job.seed, job.last)
        died = f"it died of {signal.Signals(-status).name}" if status < 0 else f"its process ended with status {status}"
        self.fail(seed, job.error or died)
        self.seeds += not done
        return Job(self.chosen, seed + 1, job.last) if seed < job.last else None

    def show(self):
        now = time.monotonic()
        if now - self.shown < (1 if sys.stdout.isatty() else 30):
            return
        self.shown = now
        line = self.summary()
        print(f"\r\x1b[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)

    def summary(self):
        other = {"virtual_ms", "operations", "turns", "reaped"}
        faults = sum(count for name, count in self.totals.items() if name not in other)
        took = time.monotonic() - self.began
        return (f"{self.seeds} seeds in {took:.0f} s, {self.totals['virtual_ms'] / 3.6e6:.1f} simulated hours, "
                f"{self.totals['operations']} operations, {faults} faults, {len(self.failed)} failed")

    def run(self):
        selector, chunks, running = selectors.DefaultSelector(), self.chunks(), True

        def begin(job):
            selector.register(job.process.stdout, selectors.EVENT_READ, job)

        try:
            while running or selector.get_map():
                while running and not self.wrong and len(selector.get_map()) < self.chosen.jobs:
                    chunk = next(chunks, None)
                    running = chunk is not None and not (self.chosen.minimize and self.failed)
                    if running:
                        begin(Job(self.chosen, *chunk))
                running = running and not self.wrong
                for key, _ in selector.select(1):
                    job = key.data
                    more, lines = job.lines()
                    for line in lines:
                        self.read(job, line)
                    if not more:
                        selector.unregister(job.process.stdout)
                        following = self.end(job)
                        if following:
                            begin(following)
                for key in list(selector.get_map().values()):
                    if time.monotonic() - key.data.heard > SILENCE_S:
                        key.data.error = f"it was not done after {SILENCE_S} s"
                        key.data.process.kill()
                self.show()
        finally:
            for key in selector.get_map().values():
                key.data.process.kill()
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")

    def report(self):
        print(self.summary())
        other = ("virtual_ms", "operations", "turns", "reaped")
        print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.totals.items()) if name not in other))
        print(f"reaped: {self.totals['reaped']}")
        print("judged, in so many seeds: " + ", ".join(f"{name} {count}" for name, count in sorted(self.judged.items())))
        for seed, why in sorted(self.failed.items()):
            print(f"FAILED {command(seed, self.chosen.set)}    # {why}")


def command(seed, sets):
    return " ".join(["sim/run world --seed", str(seed), *sets_of(sets)])


# --- smaller ---

def drawn(chosen, seed, sets):
    """All options of a seed, and whether each is a fault."""
    listed = subprocess.run([chosen.program, "--options"], stdout=subprocess.PIPE, text=True, check=True).stdout
    values = {line.split()[0]: "0" for line in listed.splitlines()}
    faults = {line.split()[0] for line in listed.splitlines() if " fault: " in line}
    printed = subprocess.run([chosen.program, "--seed", str(seed), *sets_of(sets), "--draw"], stdout=subprocess.PIPE, text=True)
    if printed.returncode != 0:
        sys.exit(printed.returncode)  # it has said why
    values.update(word.split("=") for word in printed.stdout.split() if not word.startswith("seed="))
    return values, faults


def attempt(chosen, seed, values, like=None):
    """A seed that fails with these options, and how; None if none of a few does, or not by the checker that said @like."""
    for one in range(seed, seed + TRIES):
        words = sets_of(f"{name}={value}" for name, value in values.items())
        try:
            done = subprocess.run([chosen.program, "--seed", str(one), "--quiet", *words], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=SILENCE_S)
        except subprocess.TimeoutExpired:
            return one, "it hangs"
        if done.returncode == 2:
            return None
        if done.returncode == -signal.SIGINT:
            raise KeyboardInterrupt
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if line.strip("= ") and not line.startswith("run ")]
            why = re.sub(r"^FAILED seed=\d+ ", "", lines[0]) if lines else f"it ended with status {done.returncode}"
            if like is None or mutants.finder(why, ".")[0] == mutants.finder(like, ".")[0]:
                return one, why
    return None


SMALLER = (("core_ms", 0), ("safety_ms", 100), ("sessions", 1), ("keys", 1), ("nodes", 1), ("vnodes", 1), ("shards", 1),
           ("batching", 0), ("impatient", 0), ("tokens", 0), ("weak", 0), ("sloppy", 0), ("conditions", 0), ("carts", 0), ("counters", 0),
           ("recreates", 0), ("registers", 0), ("deletes", 0), ("ttl_ms", 0), ("hot", 0), ("blinds", 0), ("moves", 0),
           ("uneven", 0), ("levels", 0), ("value_bytes", 1), ("delay_us", 900), ("sync_us", 2000))


def minimize(chosen, seed, sets):
    """Returns whether the seed fails."""
    values, faults = drawn(chosen, seed, sets)
    found = attempt(chosen, seed, values)
    if found is None or found[0] != seed:
        print(f"seed {seed} does not fail when it is run alone")
        return False
    why = found[1]

    def try_with(*names, value=0):
        nonlocal seed, values, why
        changed = {**values, **{name: str(value) for name in names}}
        found = attempt(chosen, seed, changed, why)
        if found is None:
            return False
        (seed, why), values = found, changed
        if names:
            print(f"  fails with {' '.join(f'{name}={value}' for name in names)}: seed {seed}", flush=True)
        return True

    try:
        print(f"making seed {seed} smaller: {why}", flush=True)
        active = sorted(name for name in faults if int(values[name]) > 0)
        if not (try_with(*active) or any(try_with(*(other for other in active if other != name)) for name in active)):
            for name in active:
                try_with(name)
        for name, least in SMALLER:
            while int(values[name]) > least:
                if try_with(name, value=least):
                    break
                if int(values[name]) // 2 <= least or name == "shards" or not try_with(name, value=int(values[name]) // 2):
                    break
    except KeyboardInterrupt:
        print("\ninterrupted")
    seed_values, _ = drawn(chosen, seed, [])
    differ = [f"{name}={value}" for name, value in values.items() if value != seed_values[name]]
    print(f"\nthe smallest that was found: seed {seed}: {why}")
    left = [f"{name}={values[name]}" for name in sorted(faults) if values[name] != "0"]
    if values["core_ms"] != "0":
        left.append(f"core_ms={values['core_ms']} (nodes outside the core are dead or cut off for so long)")
    print("faults that are left: " + (", ".join(left) or "none"))
    from_ms = story(chosen, seed, differ, why)
    print(f"\nrepeat: {command(seed, differ)} --trace {from_ms}")
    return True


TOLD = 60  # lines of a story


def story(chosen, seed, sets, why):
    """What happened to the key before the failure; and when the last part of that begins, in whole virtual ms."""
    done = subprocess.run([chosen.program, "--seed", str(seed), "--quiet", *sets_of(sets), "--trace"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, errors="replace")
    lines = story_lines(done.stderr.splitlines(), why)
    last = [line for line in lines[-TOLD:] if MOMENT.match(line)]
    print("\n".join(["", "its story:", *early(lines[:-TOLD], why), *lines[-TOLD:]]))
    return int(float(last[0].split()[0])) if last else 0


MOMENT = re.compile(r" *\d+\.\d+  ")


def story_lines(lines, why):
    """Those of the trace that matter to a failure: up to its moment, and about its key."""
    key = re.search(r"\b(?:key|cart|counter) (\d+)", why)
    moments = [float(at) for at in re.findall(r"\bat ([\d.]+) ms", why)]
    if moments and "in the end" not in why and "the last read" not in why:  # the trace rounds
        lines = [line for line in lines if not MOMENT.match(line) or float(line.split()[0]) <= max(moments) + 0.01]
    if not key:
        return lines
    names = {word for line in lines for word in re.findall(r"\bkey\d+\b", line)}
    if len(names) <= 1:
        return lines  # answers between nodes do not name their key
    name = re.compile(rf"\bkey{key[1]}\b")
    return [line for line in lines if befalls(line) or name.search(line)]


def befalls(line):
    """Is it about a fault or the run, and not about a key?"""
    return " -> " not in line and line.split()[2:3] != ["stores"]


def early(lines, why):
    """Of what comes before the last lines: faults, and the first lines about a write that the failure speaks of."""
    writes = re.findall(r"\bwrite (\d+)", why)
    about = re.compile(rf"#({'|'.join(writes)})\b") if writes else None
    faults = [at for at, line in enumerate(lines) if befalls(line)][-10:]
    told = sorted({*faults, *[at for at, line in enumerate(lines) if about and about.search(line)][:20]})
    return [lines[at] for at in told] + ["      ...  (before this: faults, and what is about the write in question)"] if told else []


def main():
    chosen = options()
    if chosen.options:
        os.execv(chosen.program, [chosen.program, "--options"])
    if chosen.seed is not None and chosen.minimize:
        return 1 if minimize(chosen, chosen.seed, chosen.set) else 0
    if chosen.seed is not None:
        trace = [] if chosen.trace is None else ["--trace", str(chosen.trace)]
        os.execv(chosen.program, [chosen.program, "--seed", str(chosen.seed), *sets_of(chosen.set), *trace])
    hunt = Hunt(chosen)
    try:
        hunt.run()
    except KeyboardInterrupt:
        print()
    if hunt.wrong:
        print(hunt.wrong, file=sys.stderr)
        return 2
    hunt.report()
    if hunt.failed and chosen.minimize:
        minimize(chosen, min(hunt.failed), chosen.set)
    return 1 if hunt.failed else 0


signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # sim/run world | head
try:
    sys.exit(main())
except KeyboardInterrupt:
    print("\ninterrupted")
    sys.exit(130)
