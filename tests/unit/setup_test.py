"""What tests/run and sim/run install before they build: exactly what is missing, saying what and why, as root or through sudo.

The real scripts run in a copy of their folders, with a PATH of nothing but a shell's few tools and fakes of dpkg-query,
apt-cache, apt-get, id, sudo and cmake, which write down how they were called. What they are called for (tests/run.py,
sim/local/main.py) is a fake as well, so that it is seen whether anything went on. And what both say of wrong arguments, before
all that; and while they build.

usage: setup_test.py SOURCE_DIR
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = None
TOOLS = ("bash", "dirname", "env", "tail", "mkdir", "cat", "grep")
FAKES = {
    # The files beside the fakes say what the machine is like: a file `missing` names packages, `unknown` those that apt's
    # lists do not have before an update, `broken` is there while an install or an update fails.
    "dpkg-query": """for package; do :; done
grep -qx "$package" $AT/missing && exit 1
printf installed""",
    "apt-cache": """shift
for package; do ! grep -qx "$package" $AT/unknown || exit 100; done""",
    "apt-get": """echo "apt-get $*" >> $AT/calls
[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 99
case $* in
*" update") : > $AT/unknown; ! grep -qx update $AT/broken ;;
*) ! grep -qx install $AT/broken || { : > $AT/broken; exit 100; } ;;
esac""",
    "id": "cat $AT/uid",
    "sudo": """echo "sudo $*" >> $AT/calls
exec "$@\"""",
    "cmake": """echo "cmake $*" >> $AT/calls
echo "[1/2] cmake $1" """,
}


class Setup(unittest.TestCase):
    def setUp(self):
        self.at = tempfile.mkdtemp(prefix="dynode-setup-")
        self.addCleanup(shutil.rmtree, self.at)
        for folder, *files in (("cmake", "setup.sh"), ("tests", "run"), ("sim", "run")):
            os.mkdir(os.path.join(self.at, folder))
            for file in files:
                shutil.copy(os.path.join(SOURCE, folder, file), os.path.join(self.at, folder))
        os.mkdir(os.path.join(self.at, "sim/local"))
        os.mkdir(os.path.join(self.at, "tests/unit"))
        self.write("tests/unit/CMakeLists.txt", "dynode_test(unit ring_test LINK ring)\n")
        for program in ("tests/run.py", "sim/local/main.py"):
            self.write(program, f"""import sys
if "--typo" in sys.argv:
    sys.exit(2)
if "--only-arguments" not in sys.argv:
    open({self.at + '/calls'!r}, "a").write(" ".join(["begun", *sys.argv[1:]]) + "\\n")
""")
        os.mkdir(os.path.join(self.at, "bin"))
        for tool in TOOLS:
            os.symlink(shutil.which(tool), os.path.join(self.at, "bin", tool))
        for name, text in FAKES.items():
            self.write(f"bin/{name}", f"#!/usr/bin/env bash\nAT={self.at}\n{text}\n")
            os.chmod(os.path.join(self.at, "bin", name), 0o755)
        self.machine()

    def write(self, name, text):
        with open(os.path.join(self.at, name), "w") as file:
            file.write(text)

    def machine(self, missing=(), unknown=(), broken=(), uid=0):
        for name, lines in (("missing", missing), ("unknown", unknown), ("broken", broken), ("uid", [str(uid)]), ("calls", ())):
            self.write(name, "".join(line + "\n" for line in lines))

    def without(self, *programs):
        for program in programs:
            os.remove(os.path.join(self.at, "bin", program))

    def run_script(self, script="tests/run", *arguments):
        """Returns the status, what was said on stdout and on stderr, and the calls in order."""
        ran = subprocess.run([os.path.join(self.at, script), *arguments], env={"PATH": os.path.join(self.at, "bin"), "HOME": self.at},
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        with open(os.path.join(self.at, "calls")) as file:
            return ran.returncode, ran.stdout, ran.stderr, file.read().splitlines()

    def installs(self, call, *packages):
        self.assertRegex(call, r"^apt-get .*-y.* install ")
        words = call.split(" install ")[1].split()
        self.assertEqual([word for word in words if not word.startswith("-")], list(packages))

    def test_nothing_is_missing(self):
        status, out, err, calls = self.run_script()
        self.assertEqual((status, out, err, calls), (0, "", "", ["begun"]))

    def test_as_root(self):
        self.machine(missing=["libnng-dev", "libcmocka-dev"])
        status, out, err, calls = self.run_script()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines(), ["== to install (libraries that dynode uses): libnng-dev",
                                            "== to install (unit tests, configured with the rest): libcmocka-dev"])
        self.assertEqual(len(calls), 2, calls)  # no update: apt knew them
        self.installs(calls[0], "libnng-dev", "libcmocka-dev")
        self.assertEqual(calls[1], "begun")

    def test_through_sudo(self):
        self.machine(missing=["ninja-build", "protobuf-compiler"], unknown=["protobuf-compiler"], uid=1000)
        status, out, err, calls = self.run_script()
        self.assertEqual((status, err), (0, ""))
        self.assertIn("(to build): ninja-build\n", out)
        self.assertIn("(to drive real nodes from Python): protobuf-compiler\n", out)
        self.assertEqual(len(calls), 5, calls)  # each apt-get by its sudo
        for call, through in zip(calls[1::2], calls[0::2]):
            self.assertRegex(through, "^sudo .*" + re.escape(call) + "$")
        self.assertRegex(calls[1], "^apt-get .* update$")
        self.installs(calls[3], "ninja-build", "protobuf-compiler")

    def test_neither_root_nor_sudo(self):
        self.machine(missing=["gcc", "git", "libuv1-dev"], uid=1000)
        self.without("sudo")
        for script in "tests/run", "sim/run":
            status, out, err, calls = self.run_script(script)
            self.assertEqual((status, calls), (2, []))
            self.assertIn("(to build): gcc\n", out)
            self.assertEqual(err, "setup: neither root nor sudo; as root: apt-get install gcc libuv1-dev\n")

    def test_no_debian(self):
        self.machine()
        self.without("apt-get", "apt-cache", "dpkg-query")
        status, out, err, calls = self.run_script()
        self.assertEqual((status, calls), (2, []))
        self.assertIn("libwiredtiger-dev", out)
        self.assertEqual(err, "setup: this machine has no apt-get; install by hand what the lines above name\n")

    def test_a_fresh_image_has_no_lists(self):
        self.machine(missing=["cmake", "clang-14"], unknown=["cmake", "clang-14"])
        status, _, err, calls = self.run_script()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(len(calls), 3, calls)
        self.assertRegex(calls[0], "^apt-get .* update$")
        self.installs(calls[1], "cmake", "clang-14")

    def test_lists_that_are_too_old(self):
        self.machine(missing=["clang-14"], broken=["install"])  # once: what the lists name is gone from the mirror
        status, _, err, calls = self.run_script()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(len(calls), 4, calls)
        self.installs(calls[0], "clang-14")
        self.assertRegex(calls[1], "^apt-get .* update$")
        self.installs(calls[2], "clang-14")

    def test_apt_fails(self):
        self.machine(missing=["clang-14"], unknown=["clang-14"], broken=["update"])
        status, _, err, calls = self.run_script()
        self.assertEqual((status, len(calls)), (2, 1))
        self.assertRegex(err, r"^setup: apt-get failed, .*apt-get install clang-14\n$")

    def test_each_script_asks_for_what_it_needs(self):
        self.machine(missing=["git", "clang-14", "redis-server", "protobuf-c-compiler", "python3-protobuf"])
        _, out, _, calls = self.run_script("tests/run")
        self.installs(calls[0], "protobuf-c-compiler", "python3-protobuf", "clang-14")
        self.machine(missing=["git", "clang-14", "redis-server", "protobuf-c-compiler", "python3-protobuf"])
        status, out, _, calls = self.run_script("sim/run")
        self.assertEqual(status, 0, out)
        self.installs(calls[0], "protobuf-c-compiler", "python3-protobuf")
        self.assertEqual([call.split()[0] for call in calls[1:]], ["cmake", "cmake", "begun"])

    def test_wrong_arguments_before_all_else(self):
        self.machine(missing=["gcc"])
        for script, word in (("sim/run", "--typo"), ("tests/run", "--typo"), ("tests/run", "sing"), ("tests/run", "unit/rin"),
                             ("tests/run", "")):
            status, out, err, calls = self.run_script(script, word)
            self.assertEqual((status, out, calls), (2, "", []), (script, word))
            self.assertEqual("tests/run --list" in err, script == "tests/run", err)
        self.machine()
        for word in "unit", "ring", "ring_test", "unit/ring_test", "--list":
            self.assertEqual(self.run_script("tests/run", "fuzz", word)[3], [f"begun fuzz {word}"])
            self.machine()

    def test_it_says_that_it_builds_and_can_be_run_again_at_once(self):
        for _ in range(2):
            self.machine()
            status, out, err, calls = self.run_script("sim/run", "--stop")
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out.splitlines(), ["== building build/release", "[1/2] cmake --build"])
            self.assertEqual(calls[-1], "begun --program build/release/src/cli/dynode --stop")


if __name__ == "__main__":
    SOURCE = sys.argv.pop(1)
    unittest.main(verbosity=2)
