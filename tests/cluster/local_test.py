"""sim/run's local cluster, in small: its story with a part of the data set, told while it happens and again at once, and what
an interruption leaves behind: nothing."""
import gzip
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from fixture import PROGRAM, eventually, hosts, main
from client import ROOT  # fixture says where it is

RECORDS = 4000
# The story as it is, but for the size of its data set.
STORY = f"""
import sys
sys.path.insert(0, "{ROOT}/sim/local")
import itertools, packages
whole = packages.read
packages.read = lambda: (dict(itertools.islice(whole()[0].items(), {RECORDS})), "a part")
sys.argv[0] = "sim/run"
exec(compile(open("{ROOT}/sim/local/main.py").read(), "main.py", "exec"))
"""


class Local(unittest.TestCase):
    def start(self, *arguments, nodes=5):
        temporary = tempfile.TemporaryDirectory(prefix="dynode-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        story = subprocess.Popen(
            ["/usr/bin/python3", "-c", STORY, "--program", PROGRAM, "--nodes", str(nodes), "--host", hosts(nodes)[0], *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict({name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}, TMPDIR=self.folder))
        self.addCleanup(story.stdout.close)
        self.addCleanup(story.kill)
        return story

    def nothing_is_left(self, text):
        pids = re.findall(r"process (\d+), clients", text)
        self.assertTrue(pids)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the nodes are gone", 30)
        self.assertEqual(os.listdir(self.folder), [])

    def test_the_story(self):
        story = self.start("--stop")
        text = ""
        for stage in ("2. Load", "3. Read", "4. Load everything again", "killed node3", "5. Start node3 again"):
            text += self.read_until(story, stage)
            node1, = re.findall(r"node1 +process (\d+),", text)
            self.assertTrue(os.path.exists(f"/proc/{node1}"), "it is told while it happens")
        text += story.communicate(timeout=120)[0]
        self.assertEqual(story.returncode, 0, text)
        for line in (r"records +[\d,]+, ", r"load +[\d,]+/s .*p50 .*p99", "read back .*; 0 differ", "one at a time .*p50",
                     "killed +node3 with SIGKILL after", "meanwhile +0 writes and 0 of .* reads failed", "with a node dead .*; 0 differ",
                     "restarted +node3 back .*, 0 differ", "on disk +node1", "lost +nothing"):
            self.assertRegex(text, line)
        self.nothing_is_left(text)

    def read_until(self, story, what):
        text = ""
        while what not in text:
            line = story.stdout.readline()
            self.assertTrue(line, text)
            text += line
        return text

    def test_where_the_records_are_from(self):
        """Every paragraph of apt's lists, however they are compressed; without lists, what is installed, said to be small."""
        sys.path.insert(0, f"{ROOT}/sim/local")
        import packages
        paragraphs = [b"Package: a\nVersion: %d\nArchitecture: all\nDescription: of a\n more" % number for number in (1, 2)]
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(packages, "LISTS", folder + "/*_Packages*"):
            with gzip.open(folder + "/one_Packages.gz", "wb") as file:
                file.write(b"\n\n".join(paragraphs) + b"\n")
            with open(folder + "/two_Packages", "wb") as file:
                file.write(b"Package: b\nVersion: 1\nArchitecture: amd64\n\n")
            records, source = packages.read()
            self.assertEqual(set(records), {b"a/1/all", b"a/2/all", b"b/1/amd64"})
            self.assertEqual([records[b"a/%d/all" % number].strip() for number in (1, 2)], paragraphs)
            self.assertIn("2 lists", source)
        with mock.patch.object(packages, "LISTS", "/nonexistent/*"):
            records, source = packages.read()
        self.assertGreater(len(records), 50)
        for key, value in records.items():
            self.assertEqual(key.count(b"/"), 2)
            self.assertIn(b"Package: " + key.split(b"/")[0], value)
        self.assertIn("/var/lib/dpkg/status: small", source)

    def test_again_at_once(self):
        """With --stop, at the same addresses. Behind Ctrl-C: test_it_stays_up_and_keeps_its_data."""
        first, = hosts(1)
        for _ in range(3):
            story = self.start("--host", first, "--shards", "1", "--stop", nodes=1)
            text = story.communicate(timeout=60)[0]
            self.assertEqual(story.returncode, 0, text)
            self.assertRegex(text, "lost +nothing")
            self.nothing_is_left(text)

    def test_progress_lines(self):
        """How far a load is, and how fast: a line every two seconds, or one that is rewritten where a terminal is."""
        sys.path.insert(0, f"{ROOT}/sim/local")
        import load
        for terminal, lines in ((False, 5), (True, 1)):
            said, now = io.StringIO(), [100.0]
            said.isatty = lambda: terminal
            with mock.patch.object(load.time, "monotonic", lambda: now[0]), mock.patch.object(sys, "stdout", said):
                progress = load.Progress("put", 10000)
                for _ in range(100):
                    now[0] += 0.1
                    progress.add(100)
                progress.end()
            text = said.getvalue()
            self.assertEqual(text.count("\n"), lines, text)
            self.assertGreaterEqual(len(re.findall(r"  put: [\d,]+ of 10,000, [\d,]+/s", text)), 30 if terminal else lines)
            self.assertTrue(text.split("\r")[-1].splitlines()[-1].startswith("  put: 10,000 of 10,000, 1,000/s"), text)

    def test_interrupted(self):
        for stage, number in (("2. Load", signal.SIGINT), ("4. Load everything again", signal.SIGTERM)):
            with self.subTest(stage):
                story = self.start("--stop")
                text = self.read_until(story, stage)
                time.sleep(0.3)
                story.send_signal(number)
                text += story.communicate(timeout=60)[0]
                self.assertNotEqual(story.returncode, 0)
                self.assertNotIn("Traceback", text)
                self.nothing_is_left(text)

    def test_even_sigkill_takes_the_nodes_along(self):
        story = self.start(nodes=2)
        text = self.read_until(story, "2. Load")
        story.kill()
        story.wait()
        pids = re.findall(r"process (\d+), clients", text)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the nodes are gone", 30)

    def test_another_cluster_at_its_address_is_left_alone(self):
        first, = hosts(1)
        theirs = self.start("--host", first, "--shards", "1", nodes=1)
        address = re.search(r"DYNODE_ADDRESS=(\S+)", self.read_until(theirs, "Configurations"))[1]
        command = [PROGRAM, "table", "drop", "packages", "-a", address]
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.assertEqual(subprocess.run(command, capture_output=True, env=environment).returncode, 0)
        ours = self.start("--host", first, "--shards", "1", "--stop", nodes=1)
        text = ours.communicate(timeout=60)[0]
        self.assertEqual(ours.returncode, 1, text)
        self.assertIn("the port is in use", text)
        self.assertIn("--host", text)
        command[2:4] = ["list"]
        self.assertNotIn(b"packages", subprocess.run(command, capture_output=True, env=environment).stdout)
        theirs.send_signal(signal.SIGINT)
        theirs.communicate(timeout=60)

    def test_it_stays_up_and_keeps_its_data(self):
        temporary = tempfile.TemporaryDirectory(prefix="dynode-test-")
        self.addCleanup(temporary.cleanup)
        same = ("--data", temporary.name, "--host", hosts(3)[0], "--shards", "1")
        story = self.start(*same, nodes=3)
        text = self.read_until(story, "stays up")
        command = self.read_until(story, "Configurations")
        address = re.search(r"DYNODE_ADDRESS=(\S+)", command)[1]
        key = re.search(r"dynode get packages (\S+) --raw", command)[1]
        done = subprocess.run([PROGRAM, "get", "packages", key, "--raw", "-a", address], capture_output=True,
                              env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"Package: ", done.stdout)
        with open(os.path.join(temporary.name, "node1.yaml")) as config:
            before = config.read()
        second = self.start("--data", temporary.name, "--host", hosts(3)[0], "--shards", "1", nodes=3)
        self.assertIn("is in use", second.communicate(timeout=60)[0])
        self.assertEqual(second.returncode, 1)
        with open(os.path.join(temporary.name, "node1.yaml")) as config:
            self.assertEqual(config.read(), before, "who runs there keeps its configurations")
        story.send_signal(signal.SIGINT)
        text += story.communicate(timeout=60)[0]
        self.assertEqual(story.returncode, 0, text)
        self.nothing_is_left(text)
        self.assertTrue(os.path.isdir(os.path.join(temporary.name, "node3")), "--data keeps")
        again = self.start(*same, "--stop", nodes=3)
        text = again.communicate(timeout=120)[0]
        self.assertEqual(again.returncode, 0, text)
        self.assertRegex(text, "lost +nothing")
        other = self.start("--data", temporary.name, "--shards", "2", nodes=3)
        self.assertIn("was made with", other.communicate(timeout=60)[0])
        self.assertNotEqual(other.returncode, 0)


if __name__ == "__main__":
    main()
