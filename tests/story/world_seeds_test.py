"""Worlds by the hundred, in the release build: the fixed seeds 1 to 300, 100 fresh ones, and more wiped and rotten disks
than those have, within what the quorums bear; and some in this build, with all its sanitizers. Every kind of fault must have taken place.

The negative controls, without which the checkers may be blind: with R=W=1, and with sloppy quorums, a read must be found to
miss a write, and where more is wiped at a time than the quorums bear writes must be found to be lost. A process that dies must be
found too, even with the status of one that ran to its end.

usage: world_seeds_test.py SOURCE_DIR DYNODE_WORLD
"""
import os
import re
import subprocess
import sys
import tempfile

PLAIN = ("nodes=5", "n=3", "r=2", "w=2", "weak=0", "quorum=0", "levels=0", "sloppy=0")
# Of 300 seeds at least so many. A core goes on without some nodes wherever the quorums allow that.
JUDGED = {"core": 190, "copies": 260, "trees": 260, "register": 290, "session": 200, "condition": 275, "merge": 190,
          "chain": 50, "gone": 200}
# ... and so many objects reaped, without which nothing could come back.
REAPED = 400


def run(source, seeds, *sets, program=None):
    words = [word for one in sets for word in ("--set", one)] + (["--program", program] if program else [])
    done = subprocess.run([os.path.join(source, "sim/run"), "world", "--seeds", seeds, "--jobs", "2", *words],
                          stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    tail = "\n".join(done.stdout.splitlines()[-20:])
    assert done.returncode in (0, 1), tail
    faults = re.search(r"^faults: (.*)$", done.stdout, re.MULTILINE)
    assert faults, tail
    first, last = map(int, seeds.split(".."))
    assert re.search(rf"^{last - first + 1} seeds in ", done.stdout, re.MULTILINE), "not all seeds were run\n" + tail
    return done.returncode, tail, counts_of(faults[1])


def counts_of(text):
    return {name: int(count) for name, count in (one.split() for one in text.split(", "))}


def kinds(source):
    text = open(os.path.join(source, "sim/world/look.c")).read()
    return set(re.findall(r'\[WORLD_\w+\] = "([\w-]+)"', text))


def deaths_are_found(source):
    """In place of dynode-world: one that dies at a seed, or behind the last one, with this status."""
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "program")
        for status, at in ((status, at) for status in (1, 2, 99) for at in (2, 3, 4)):
            with open(program, "w") as file:
                file.write(f"""#!/bin/sh
for seed in $(seq ${{2%..*}} 3); do
    echo "run seed=$seed"
    [ $seed != {at} ] || exit {status}
    echo "ok seed=$seed hash=0 crash=1"
done
[ {at} != 4 ] || exit {status}
""")
            os.chmod(program, 0o755)
            found, tail, _ = run(source, "1..3", program=program)
            assert found == 1 and f"--seed {min(at, 3)} " in tail, f"a death with status {status} was not found\n{tail}"


def main():
    source, program = sys.argv[1:]
    status, tail, counts = run(source, "1..300")
    print(tail, flush=True)
    assert status == 0
    judged = counts_of(re.search(r"^judged, in so many seeds: (.*)$", tail, re.MULTILINE)[1])
    few = {name for name, least in JUDGED.items() if judged.get(name, 0) < least}
    assert not few, f"judged too seldom: {few}"
    assert judged["copies-core"] == judged["core"]
    reaped = int(re.search(r"^reaped: (\d+)$", tail, re.MULTILINE)[1])
    assert reaped >= REAPED, f"only {reaped} objects were reaped"
    missing = {kind for kind in kinds(source) if counts.get(kind, 0) == 0}
    assert not missing, f"never took place: {missing}"

    fresh = int.from_bytes(os.urandom(5), "big")
    print(f"fresh seeds {fresh}..{fresh + 99}", flush=True)
    status, tail, _ = run(source, f"{fresh}..{fresh + 99}")
    print(tail, flush=True)
    assert status == 0

    for seeds in ("301..340", f"{fresh + 100}..{fresh + 109}"):
        print(f"with the sanitizers of {program}: {seeds}", flush=True)
        status, tail, _ = run(source, seeds, program=program)
        print(tail, flush=True)
        assert status == 0

    status, tail, counts = run(source, "1..30", *PLAIN, "lost_max=1", "wipes=6000", "rots=6000")
    print(tail, flush=True)
    assert status == 0
    assert counts["wipe"] > 0 and counts["rot"] > 0

    status, tail, _ = run(source, "1..40", "quorum=1", "levels=0", "strict=1", "core_ms=0", "lost_max=0")
    missed = [line for line in tail.splitlines() if re.search("# read \\d+ of key \\d+ .*(misses|finds an older) write", line)]
    assert missed, "R=W=1, and no read missed a write: the checker of registers is blind\n" + tail
    print(f"R=W=1: {missed[0]}", flush=True)

    status, tail, _ = run(source, "1..40", *PLAIN[:-1], "sloppy=100", "strict=1", "core_ms=0", "lost_max=0")
    missed = [line for line in tail.splitlines() if re.search("# read \\d+ of key \\d+ .*(misses|finds an older) write", line)]
    assert missed, "all is sloppy, and no read missed a write: the checker of registers is blind\n" + tail
    print(f"sloppy: {missed[0]}", flush=True)

    status, tail, _ = run(source, "1..40", *PLAIN, "lost_max=3", "wipes=6000")
    lost = re.findall("# in the end node .* lacks write .*, acknowledged at", tail)
    assert status == 1 and lost, "three disks of five were wiped, and every write is there\n" + tail
    print(f"more wiped than the quorums bear: in {len(lost)} or more of 40 seeds a write is lost")

    deaths_are_found(source)


main()
