"""The same seed is the same world in every build: this build's dynode-world, with all its sanitizers, and those of other
presets must print the same hashes, fault counts and operations: the release build, one that optimises nothing, and one by
another compiler (the fuzzers', which CI builds anyway; without clang it is left out, and that is said). Each seed is run twice
by this build, too, the second time in a process of its own: what went before it in the same process must leave nothing behind.

usage: world_hash_test.py SOURCE_DIR DYNODE_WORLD
"""
import os
import shutil
import subprocess
import sys

SEEDS = "1..12"
BUILDS = ("release", "debug", "fuzz")


def run(program, seeds=SEEDS):
    done = subprocess.run([program, "--seeds", seeds, "--quiet"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{program}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout.splitlines()


def build(source, preset):
    """Another preset's dynode-world; in release also what is installed, which no other test builds as it is shipped."""
    targets = ["dynode-world"] + (["dynode", "libdynode"] if preset == "release" else [])
    for command in (["cmake", "--preset", preset], ["cmake", "--build", f"build/{preset}", "--target", *targets]):
        subprocess.run(command, cwd=source, stdout=subprocess.DEVNULL, check=True)
    return os.path.join(source, "build", preset, "sim/world/dynode-world")


def main():
    source, program = sys.argv[1:]
    builds = [preset for preset in BUILDS if preset != "fuzz" or shutil.which("clang-14")]
    others = [(preset, run(build(source, preset))) for preset in builds]
    first = run(program)
    first_seed, last_seed = map(int, SEEDS.split(".."))
    alone = [line for seed in range(first_seed, last_seed + 1) for line in run(program, f"{seed}..{seed}")]
    for other, lines in (("the same build, alone,", alone), *others):
        for a, b in zip(first, lines, strict=True):
            assert a == b, f"{program} says\n    {a}\n{other} says\n    {b}"
    hashes = {line.split()[2] for line in first if line.startswith("ok ")}
    assert len(hashes) == 12, f"12 seeds have {len(hashes)} hashes"
    print(f"seeds {SEEDS}: 12 hashes, the same {2 + len(builds)} times; here and in {', '.join(builds)}")
    if len(builds) < len(BUILDS):
        print("there is no clang-14: every build was by one compiler")


main()
