"""The same seed is the same world in every build: this build's dynode-world, with all its sanitizers, and the release build's
must print the same hashes, fault counts and operations. Each seed is run twice by this build, too.

usage: world_hash_test.py SOURCE_DIR DYNODE_WORLD
"""
import os
import subprocess
import sys

SEEDS = "1..12"


def run(program):
    done = subprocess.run([program, "--seeds", SEEDS, "--quiet"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{program}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout.splitlines()


def main():
    source, program = sys.argv[1:]
    subprocess.run(["cmake", "--preset", "release"], cwd=source, stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["cmake", "--build", "build/release", "--target", "dynode-world"], cwd=source,
                   stdout=subprocess.DEVNULL, check=True)
    release = os.path.join(source, "build/release/sim/world/dynode-world")
    first, again, other = run(program), run(program), run(release)
    for build, lines in (("the same build", again), ("release", other)):
        for a, b in zip(first, lines, strict=True):
            assert a == b, f"{program} says\n    {a}\n{build} says\n    {b}"
    hashes = {line.split()[2] for line in first if line.startswith("ok ")}
    assert len(hashes) == 12, f"12 seeds have {len(hashes)} hashes"
    print(f"seeds {SEEDS}: 12 hashes, the same three times")


main()
