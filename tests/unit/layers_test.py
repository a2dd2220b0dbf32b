"""The house keeps its order: a folder of src/ includes only folders before it, libraries stay in their rooms, every header
compiles alone, and actors have no clock, thread, lock or randomness of their own.

usage: layers_test.py SOURCE_DIR BUILD_DIR CC
"""
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

LAYERS = "base version ring merkle store wire actor actors runtime service client cli".split()
ROOMS = {  # what may be included where, as regular expressions over the header and over the file
    r"wiredtiger\.h": r"store/store_wt\.c",
    r"nng/.*": r"runtime/.*",
    r"uv\.h": r"(runtime|service)/.*",
    r"cyaml/.*|yaml\.h": r"base/config.*",
    r"sodium\.h": r"wire/context\.c",
}
NOT_IN_ACTORS = r"\b(clock_gettime|gettimeofday|time\(NULL|rand\(|random\(|prng_entropy|pthread_\w+|usleep|nanosleep|stdatomic)"
# libdynode stands beside the servers' layers: it may use only these.
CLIENT_MAY_USE = {"base", "version", "ring", "wire", "client"}


def complaints(root):
    for path in sorted(root.glob("src/*/*.[ch]")):
        name = path.relative_to(root / "src").as_posix()
        layer = name.split("/")[0]
        text = path.read_text()
        if layer not in LAYERS:
            yield f"{name}: {layer} is no layer of the house"
            continue
        for included in re.findall(r'#include "(\w+)/', text):
            if included in LAYERS and LAYERS.index(included) > LAYERS.index(layer):
                yield f"{name}: includes {included}, which is above it"
            if layer == "client" and included in LAYERS and included not in CLIENT_MAY_USE:
                yield f"{name}: libdynode uses {included}"
        for included in re.findall(r"#include <([^>]+)>", text):
            for header, room in ROOMS.items():
                if re.fullmatch(header, included) and not re.fullmatch(room, name):
                    yield f"{name}: includes {included}, which belongs to {room}"
        if layer in ("actor", "actors"):
            for word in re.findall(NOT_IN_ACTORS, text):
                yield f"{name}: {word} in an actor"


def headers_alone(root, build, cc):
    flags = ["-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", "-I", str(root / "src"), "-isystem", str(build / "proto")]

    def compile_alone(path):
        source = f'#include "{path.relative_to(root / "src").as_posix()}"\n'
        done = subprocess.run([cc, *flags, "-"], input=source, capture_output=True, text=True)
        return None if done.returncode == 0 else f"{path}: does not compile alone:\n{done.stderr}"

    with ThreadPoolExecutor(2) as pool:
        return [complaint for complaint in pool.map(compile_alone, sorted(root.glob("src/*/*.h"))) if complaint]


def main():
    root, build, cc = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    found = list(complaints(root)) + headers_alone(root, build, cc)
    print("\n".join(found) or "the house is in order")
    sys.exit(1 if found else 0)


main()
