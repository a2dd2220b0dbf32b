"""sim/run chaos, in small: a storm over real processes from a fresh seed, judged; what it says of a cluster that goes wrong; and
what it leaves behind, however it ends: nothing."""
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from types import SimpleNamespace

from fixture import PROGRAM, SEED, eventually, main  # takes the program from the arguments
from client import ROOT

sys.path.append(os.path.join(ROOT, "sim/chaos"))
import faults  # noqa: E402

JUDGE = sys.argv.pop(1) if sys.argv[1:] and os.path.exists(sys.argv[1]) else os.path.join(ROOT, "build/asan/sim/world/dynode-judge")
SLOW_DISK = sys.argv.pop(1) if sys.argv[1:] and os.path.exists(sys.argv[1]) else os.path.join(ROOT, "build/asan/sim/chaos/libslow_disk.so")
QUIET = ["--sessions", "8", "--think", "40", "--keys", "24", "--shards", "1"]  # the machine has other work


class Saying:
    """A station, as far as Losses looks at one."""

    def __init__(self, name):
        self.node, self.starts, self.said = SimpleNamespace(name=name), 1, None

    def say(self, hints=(), filled=True, unproven=0, equal_ms_ago=0, asked_s_ago=0.0, silent=False):
        shard = SimpleNamespace(filled=filled, unproven=unproven, equal_ms_ago=equal_ms_ago,
                                hints=[SimpleNamespace(count=1, oldest_ms=oldest) for oldest in hints])
        self.said = None if silent else (time.monotonic() - asked_s_ago, SimpleNamespace(shards=[shard]))


class Chaos(unittest.TestCase):
    def start(self, *arguments, judge=JUDGE, **environment):
        temporary = tempfile.TemporaryDirectory(prefix="dynode-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = os.path.join(temporary.name, "run")
        os.mkdir(self.folder)
        suppressions = os.path.join(temporary.name, "suppressions")
        with open(suppressions, "w") as file:  # WiredTiger leaks when a disk that is full makes it panic
            for name in ("lsan.supp", "wiredtiger_panic.supp"):
                with open(os.path.join(ROOT, "tests", name)) as part:
                    file.write(part.read())
        run = subprocess.Popen(
            ["/usr/bin/python3", os.path.join(ROOT, "sim/chaos/main.py"), "--program", PROGRAM, "--judge", judge, "--slow-disk", SLOW_DISK,
             *QUIET, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            env=dict(os.environ, TMPDIR=self.folder, LSAN_OPTIONS=f"suppressions={suppressions}:print_suppressions=0", **environment))
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.kill)
        return run

    def read_until(self, run, what):
        text = ""
        while not re.search(what, text):
            line = run.stdout.readline()
            self.assertTrue(line, f"it ended before it said {what}:\n{text}")
            text += line
        return text

    def pids(self, text):
        pids = re.findall(r"node\d+ is process (\d+)", text)
        self.assertTrue(pids, text)
        return pids

    def nothing_is_left(self, text, kept=False):
        pids = self.pids(text)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the nodes are gone", 60)
        with open("/proc/self/mounts") as mounts:
            self.assertNotIn(self.folder, mounts.read())
        if not kept:
            self.assertEqual(os.listdir(self.folder), [])

    def test_a_storm(self):
        run = self.start("--minutes", "0.6", "--seed", str(SEED), "--at-once", "4")
        text, _ = run.communicate(timeout=400)
        self.assertEqual(run.returncode, 0, text)
        for line in (rf"^seed {SEED}: 5 nodes", r"^available +[\d.]+ % of [\d,]+ sloppy writes", "^judged .* of kept .*final, register, session, merge",
                     "^judged .* of last .*final, register", "^verdict +nothing acknowledged was lost"):
            self.assertRegex(text, re.compile(line, re.MULTILINE))
        self.nothing_is_left(text)

    def test_lost_disks(self):
        """A wiped one, and one with bits flipped, as soon as that can be survived."""
        run = self.start("--minutes", "0.7", "--nodes", "4", "--only", "wipe,flip", "--seed", "6")
        text, _ = run.communicate(timeout=400)
        self.assertEqual(run.returncode, 0, text)
        self.assertRegex(text, r"\+ wipe node4")
        self.assertRegex(text, r"\+ flip node2|flip node2 is left out")  # on a machine that is too busy to fill node4 until then
        self.assertRegex(text, "(?m)^verdict +nothing acknowledged was lost")
        self.nothing_is_left(text)

    def test_interrupted(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
            run = self.start("--minutes", "3", "--nodes", "3", "--only", "pause", "--seed", "5")
            text = self.read_until(run, r"\+ pause")  # a node that is stopped has to go too
            run.send_signal(number)
            text += run.communicate(timeout=120)[0]
            self.assertEqual(run.returncode, status, text)
            self.assertNotIn("verdict", text)
            self.nothing_is_left(text, kept=number == signal.SIGKILL)

    def test_a_node_that_ends_by_itself_is_a_fault(self):
        run = self.start("--minutes", "0.2", "--nodes", "3", "--only", "loss", "--seed", "5")
        text = self.read_until(run, "is process")
        os.kill(int(self.pids(text)[1]), signal.SIGKILL)
        text += run.communicate(timeout=300)[0]
        self.assertEqual(run.returncode, 1, text)
        self.assertRegex(text, "WRONG +node2 ended by itself, with status -9")
        self.assertRegex(text, "Again: sim/run chaos --seed 5 --minutes 0.2 --nodes 3")
        kept = re.search(r"histories, configurations and logs: (\S+)", text)[1]
        self.assertIn("history-kept.txt", os.listdir(kept))
        self.nothing_is_left(text, kept=True)

    def test_without_namespaces(self):
        """As somebody who is not root has it; and what the judge says is what comes of it."""
        judge = os.path.join(tempfile.mkdtemp(prefix="dynode-test-"), "judge")
        self.addCleanup(os.rmdir, os.path.dirname(judge))
        self.addCleanup(os.remove, judge)
        with open(judge, "w") as file:
            file.write(f'#!/bin/sh\n"{JUDGE}" "$1" && echo "FAULT mood: bad" && exit 1\n')
        os.chmod(judge, stat.S_IRWXU)
        run = self.start("--minutes", "0.15", "--nodes", "3", "--seed", "7", judge=judge, DYNODE_CHAOS_APART="no")
        text, _ = run.communicate(timeout=300)
        self.assertEqual(run.returncode, 1, text)
        self.assertIn("loopback addresses: no link is cut", text)
        self.assertRegex(text, "(?m)left out here: full, power, cut, cut-way, isolate, split, slow, loss$")
        wrong = re.findall(r"^WRONG .*", text, re.MULTILINE)
        self.assertEqual([line.split(None, 1)[1] for line in wrong], ["kept: FAULT mood: bad", "last: FAULT mood: bad"])
        self.nothing_is_left(text, kept=True)

    def test_a_seed_has_a_plan(self):
        def plan(*arguments):
            text, _ = self.start("--plan", "--minutes", "5", *arguments).communicate(timeout=60)
            return [line for line in text.splitlines() if re.match(r" *[\d.]+ - ", line)]

        one = plan("--seed", "1")
        self.assertGreater(len(one), 20)
        self.assertEqual(one, plan("--seed", "1"))
        self.assertNotEqual(one, plan("--seed", "2"))
        self.assertTrue(all(" kill " in line for line in plan("--seed", "1", "--only", "kill")))

    def test_when_a_disk_may_be_lost(self):
        """Losses, with nodes that say what they are told to say."""
        stations = [Saying(f"node{number}") for number in range(3)]
        losses = faults.Losses(stations)

        def may(whose="", **more):
            """All have been asked just now and are fine, but for one of them."""
            for station in stations:
                station.say(**(more if station.node.name == whose else {}))
            return losses.waits_for()

        self.assertIsNone(losses.waits_for(), "the first needs nobody's word")
        losses.over()
        self.assertIn("hints", losses.waits_for(), "nothing was said since")
        time.sleep(0.05)
        old = time.time() * 1000 - 60000
        self.assertIn("hints from before the last loss, at node1", may("node1", hints=[old]))
        time.sleep(0.05)
        self.assertIn("proof", may(), "what came home a moment ago may be at one home only")
        time.sleep(0.05)
        for trouble in (dict(unproven=1), dict(filled=False), dict(equal_ms_ago=60000), dict(asked_s_ago=60), dict(silent=True)):
            self.assertIn("the proof that all is equal, of node2", may("node2", **trouble), trouble)
        self.assertIn("synced", may("node2", hints=[time.time() * 1000 + 1000]), "a hint of a later write is no matter")
        faults.SYNC_S, before = 0.2, faults.SYNC_S
        self.addCleanup(setattr, faults, "SYNC_S", before)
        time.sleep(0.3)
        stations[0].starts += 1
        self.assertIn("synced", may(), "one has started since")
        time.sleep(0.3)
        self.assertIsNone(may())
        losses.over()
        self.assertIn("hints", losses.waits_for())

    def test_wrong_arguments(self):
        for arguments in (["--minutes", "0"], ["--only", "rain"], ["--with", "kill"], ["--nodes", "2"], ["--seed", "x"]):
            run = self.start(*arguments)
            text, _ = run.communicate(timeout=60)
            self.assertEqual(run.returncode, 2, text)


if __name__ == "__main__":
    main()
