"""Disks at their end: a file system that fills up, also under a checkpoint, one that can only be read, and a directory that
is put back from an old copy.

It runs in a mount namespace of its own, where small file systems are mounted; where that is not allowed, it says so and does
what it can without.
"""
import errno
import os
import shutil
import subprocess
import sys

if "DISK_TEST_MOUNTS" not in os.environ:
    private = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode == 0
    os.environ["DISK_TEST_MOUNTS"] = "yes" if private else "no"
    if private:
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
MOUNTS = os.environ["DISK_TEST_MOUNTS"] == "yes"

import unittest  # noqa: E402

from fixture import ClusterCase, eventually, main  # noqa: E402
from client import ROOT, get, pb, put  # noqa: E402

FILE_SYSTEM_MB, RESERVE_MB, CHECKPOINT_SECONDS = 160, 16, 1
SUPPRESSIONS = os.path.join(ROOT, "tests", "wiredtiger_panic.supp")  # it leaks when it panics
PAGE_BYTES = os.sysconf("SC_PAGESIZE")  # of tmpfs


class OldCopy(ClusterCase):
    NODES, SHARDS = 3, 2

    def test_an_old_copy_of_a_directory_loses_no_write(self):
        records = {b"old/%d" % number: b"first" for number in range(200)}
        self.load(self.connect(), "users", records, level=pb.ALL)
        victim = self.nodes[1]
        self.assertEqual(victim.stop(), 0)
        shutil.copytree(victim.data, victim.data + ".old")
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        contexts = {key: self.ok(self.connect(1).one(get("users", key))).context for key in records}
        for key in records:
            self.ok(self.connect(1).one(put("users", key, b"second", context=contexts[key], level=pb.ALL)))
        self.assertEqual(victim.stop(), 0)
        shutil.rmtree(victim.data)
        os.rename(victim.data + ".old", victim.data)
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        # Written at the node that has forgotten, by who has seen nothing: a dot that is used twice would hide a write.
        for key in records:
            self.ok(self.connect(1).one(put("users", key, b"third")))
        for node in range(3):
            for key in records:
                self.assertEqual(self.values(self.ok(self.connect(node).one(get("users", key)))), [b"second", b"third"])


@unittest.skipUnless(MOUNTS, "this user may not mount file systems")
class SmallDisk(ClusterCase):
    NODES, SHARDS = 3, 1
    SETTINGS = f"store:\n  cache: 32MB\n  reserve: {RESERVE_MB}MB\n  checkpoint_seconds: {CHECKPOINT_SECONDS}\n"

    @classmethod
    def setUpClass(cls):
        """The second node's directory moves to a file system of its own."""
        super().setUpClass()
        victim = cls.nodes[1]
        assert victim.stop() == 0
        moved = victim.data + ".moved"
        os.rename(victim.data, moved)
        os.mkdir(victim.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FILE_SYSTEM_MB}m", "tmpfs", victim.data], check=True)
        shutil.copytree(moved, victim.data, dirs_exist_ok=True)
        victim.environment = dict(os.environ, LSAN_OPTIONS=f"suppressions={SUPPRESSIONS}")
        victim.start()
        victim.wait_ready()
        cls.cluster.wait_linked()

    @classmethod
    def _end(cls):
        try:
            super()._end()
        finally:  # where a file system is mounted a folder stays
            subprocess.run(["umount", cls.nodes[1].data], stderr=subprocess.DEVNULL)
            shutil.rmtree(cls.folder, ignore_errors=True)

    def fill(self, leave):
        """Until so many bytes are left for others. The node writes meanwhile, too."""
        with open(os.path.join(self.nodes[1].data, "filler"), "wb", buffering=0) as file:
            try:
                while (left := os.statvfs(file.name).f_bavail * PAGE_BYTES - leave) > 0:
                    file.write(b"\0" * min(left, 1 << 16))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)

    def free(self):
        os.remove(os.path.join(self.nodes[1].data, "filler"))

    def until_it_refuses(self):
        """The space that is left is asked after now and then: write until it was."""
        for number in range(400):
            answer = self.connect().one(put("last", b"filling/%d" % (number % 8), b"x" * 65536, level=pb.ALL))
            if answer.status != pb.OK:
                return answer
        self.fail("the full disk took every write")

    def until_it_takes(self):
        eventually(lambda: self.connect().one(put("last", b"room", b"again", level=pb.ALL)).status == pb.OK, "there is room", 30)

    def test_a_disk_that_fills(self):
        records = {b"full/%d" % number: b"before" * 100 for number in range(300)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        self.fill(RESERVE_MB << 19)
        refusal = self.ok(self.until_it_refuses(), "UNAVAILABLE")
        self.load(self.connect(), "last", {key: b"while" * 100 for key in records})  # two homes are enough
        for key in records:
            self.assertEqual(self.values(self.ok(self.connect(1).one(get("last", key)))), [b"while" * 100])
        self.assertTrue(self.nodes[1].running())
        self.free()
        self.until_it_takes()
        self.load(self.connect(), "last", {key: b"after" * 100 for key in records}, level=pb.ALL)

    def test_a_disk_that_is_full_to_the_last_byte_under_a_checkpoint(self):
        """Not even what WiredTiger writes for itself has room: the node ends, and has everything when it starts again."""
        victim = self.nodes[1]
        records = {b"checkpoint/%d" % number: os.urandom(500) for number in range(2000)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        self.fill(0)
        eventually(lambda: self.connect().one(put("last", b"room", b"none")).status == pb.OK and not victim.running(),
                   "the node ends", 30)
        self.assertEqual(victim.process.returncode, 3, victim.tail())
        self.assertIn("its store can't be written", victim.tail(1))
        for key in records:
            self.assertEqual(self.values(self.ok(self.connect(0).one(get("last", key)))), [records[key]])
        self.free()
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        self.until_it_takes()
        ring = self.ring()
        first = [key for key in records if ring.homes("last", key)[0] == victim.id]
        for key in first:  # n=1: it answers alone
            self.assertEqual(self.values(self.ok(self.connect(1).one(get("last", key, n=1, r=1)))), [records[key]])

    def test_a_file_system_that_can_only_be_read(self):
        victim = self.nodes[1]
        self.load(self.connect(), "last", {b"read": b"only"}, level=pb.ALL)
        self.assertEqual(victim.stop(), 0)
        subprocess.run(["mount", "-o", "remount,ro", victim.data], check=True)
        try:
            victim.start()
            self.assertEqual(victim.wait(), 2, victim.tail())
            self.assertIn(f"{victim.data}: the data directory cannot be written: Read-only file system", victim.tail(1))
        finally:
            subprocess.run(["mount", "-o", "remount,rw", victim.data], check=True)
            victim.start()
            victim.wait_ready()


if __name__ == "__main__":
    main()
