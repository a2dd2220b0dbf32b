"""The same seed is the same world in every build: this build's dynode-world, with all its sanitizers, and the release build's
must print the same hashes, fault counts and operations. Each seed is run twice by this build, too, the second time in a
process of its own: what went before it in the same process must leave nothing behind.

usage: world_hash_test.py SOURCE_DIR DYNODE_WORLD
"""
import os
import subprocess
import sys

SEEDS = "1..12"


def run(program, seeds=SEEDS):
    done = subprocess.run([program, "--seeds", seeds, "--quiet"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{program}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout.splitlines()


def main():
    source, program = sys.argv[1:]
    subprocess.run(["cmake", "--preset", "release"], cwd=source, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["cmake", "--build", "build/release", "--target", "dynode-world"], cwd=source,
                   stdout=subprocess.DEVNULL, check=True)
    release = os.path.join(source, "build/release/sim/world/dynode-world")
    first, other = run(program), run(release)
    first_seed, last_seed = map(int, SEEDS.split(".."))
    alone = [line for seed in range(first_seed, last_seed + 1) for line in run(program, f"{seed}..{seed}")]
    for build, lines in (("the same build, alone,", alone), ("release", other)):
        for a, b in zip(first, lines, strict=True):
            assert a == b, f"{program} says\n    {a}\n{build} says\n    {b}"
    hashes = {line.split()[2] for line in first if line.startswith("ok ")}
    assert len(hashes) == 12, f"12 seeds have {len(hashes)} hashes"
    print(f"seeds {SEEDS}: 12 hashes, the same three times")


main()
