"""Worlds by the hundred, in the release build: the fixed seeds 1 to 300, 100 fresh ones, and wiped and rotten disks within
what the quorums bear. Every kind of fault must have taken place. Beyond what they bear something must be found to be lost:
otherwise the checkers are blind.

usage: world_seeds_test.py SOURCE_DIR
"""
import os
import re
import subprocess
import sys

PLAIN = ("nodes=5", "n=3", "r=2", "w=2", "weak=0", "quorum=0")
LATER = {"wipe", "rot"}  # off unless set by hand


def run(source, seeds, *sets):
    words = [word for one in sets for word in ("--set", one)]
    done = subprocess.run([os.path.join(source, "sim/run"), "world", "--seeds", seeds, "--jobs", "2", *words],
                          stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    tail = "\n".join(done.stdout.splitlines()[-20:])
    assert done.returncode in (0, 1), tail
    faults = re.search(r"^faults: (.*)$", done.stdout, re.MULTILINE)
    assert faults, tail
    return done.returncode, tail, {name: int(count) for name, count in (one.split() for one in faults[1].split(", "))}


def kinds(source):
    text = open(os.path.join(source, "sim/world/look.c")).read()
    return set(re.findall(r'\[WORLD_\w+\] = "([\w-]+)"', text))


def main():
    source = sys.argv[1]
    status, tail, counts = run(source, "1..300")
    print(tail, flush=True)
    assert status == 0
    missing = {kind for kind in kinds(source) - LATER if counts.get(kind, 0) == 0}
    assert not missing, f"never took place: {missing}"

    fresh = int.from_bytes(os.urandom(5), "big")
    print(f"fresh seeds {fresh}..{fresh + 99}", flush=True)
    status, tail, _ = run(source, f"{fresh}..{fresh + 99}")
    print(tail, flush=True)
    assert status == 0

    status, tail, counts = run(source, "1..30", *PLAIN, "lost_max=1", "wipes=6000", "rots=6000")
    print(tail, flush=True)
    assert status == 0
    assert counts["wipe"] > 0 and counts["rot"] > 0

    status, tail, _ = run(source, "1..40", *PLAIN, "lost_max=5", "wipes=6000")
    assert status == 1, "all disks were wiped, and nothing was missed"
    print(f"more wiped than the quorums bear: {len(re.findall('^FAILED', tail, re.MULTILINE))} or more of 40 seeds fail")


main()
