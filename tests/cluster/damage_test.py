"""Flipped bits on a disk: that store is moved aside, the node and its other shards live, and the others serve its keys."""
import glob
import os
import shutil
import unittest

from fixture import Client, ClusterCase, dynode, eventually, main
from client import ROOT, get, node_status, pb, put  # fixture says where it is

SUPPRESSIONS = os.path.join(ROOT, "tests", "wiredtiger_panic.supp")


class Damage(ClusterCase):
    NODES, SHARDS = 3, 2

    def damage(self, node, shard):
        """Flip a bit in every page of the shard's table of objects."""
        files = [path for path in glob.glob(f"{node.data}/**/objects.wt", recursive=True) if ".broken-" not in path]
        self.assertEqual(len(files), self.SHARDS, files)
        path = sorted(files)[shard]
        with open(path, "r+b") as file:
            size = os.path.getsize(path)
            self.assertGreater(size, 65536, "there is something to damage")
            for offset in range(8192, size, 4096):
                file.seek(offset + self.random.randrange(4096))
                byte = file.read(1)
                if byte:
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1 << self.random.randrange(8)]))

    def test_a_damaged_store_is_moved_aside(self):
        records = {b"damage/%d" % number: b"value %d" % number * 50 for number in range(1500)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        victim = self.nodes[1]
        self.assertEqual(victim.stop(), 0)
        self.damage(victim, 0)
        victim.environment = dict(os.environ, LSAN_OPTIONS=f"suppressions={SUPPRESSIONS}")
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        for node in range(3):
            keys = list(records)
            for start in range(0, len(keys), 500):
                part = keys[start:start + 500]
                for key, answer in zip(part, self.connect(node).call(*(get("last", key) for key in part))):
                    self.assertEqual(self.values(self.ok(answer)), [records[key]])
        eventually(lambda: glob.glob(f"{victim.data}/*.broken-*"), "the store is moved aside")
        self.assertTrue(victim.running(), "the node lives")
        eventually(lambda: self.filled(victim) == [True, True], "the new store is filled from the other homes", 60)
        # After a restart it still knows that it counts.
        for key in list(records)[:200]:
            self.ok(self.connect(1).one(put("last", key, b"after")))
        self.assertEqual(victim.stop(), 0)
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        self.assertEqual(self.filled(victim), [True, True])
        for key in list(records)[:200]:
            self.assertEqual(self.values(self.ok(self.connect(1).one(get("last", key)))), [b"after"])

    def test_a_whole_directory_is_lost(self):
        """What two nodes have acknowledged is on one of them alone, and that one is away: nobody may say that it is not there."""
        one, lost, other = self.nodes
        other.kill()
        self.wait_unreachable([other])
        records = {b"lost/%d" % number: b"value %d" % number for number in range(50)}
        self.load(self.connect(), "last", records)
        one.kill()
        lost.kill()
        shutil.rmtree(lost.data)
        for node in (lost, other):
            node.start()
        for node in (lost, other):
            node.wait_ready()
        self.cluster.wait_linked()
        for node in (1, 2):
            for answer in self.connect(node).call(*(get("last", key) for key in records)):
                self.ok(answer, "UNAVAILABLE")
        eventually(lambda: self.waits_for(lost) == {one.id}, "it says what it waits for")
        one.start()
        one.wait_ready()
        self.cluster.wait_filled(60)
        one.kill()
        self.wait_unreachable([one])
        for node in (1, 2):
            for key, answer in zip(records, self.connect(node).call(*(get("last", key) for key in records))):
                self.assertEqual(self.values(self.ok(answer)), [records[key]])

    def test_a_loss_is_accepted(self):
        """One home is dead for good when another loses its directory: that counts again when an operator has said so."""
        dead, lost, other = self.nodes
        records = {b"accepted/%d" % number: b"value %d" % number for number in range(50)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        dead.kill()
        lost.kill()
        shutil.rmtree(lost.data)
        lost.start()
        lost.wait_ready()
        self.cluster.wait_linked()
        self.wait_unreachable([dead])
        eventually(lambda: self.waits_for(lost) == {dead.id}, "it says what it waits for")
        accept = ["accept-loss", "-a", other.address]
        for arguments, status, said in ((["nobody"], 2, "no member"), ([lost.name], 2, "can be reached"), ([], 2, "NODE")):
            done, _, why = dynode(*accept, *arguments)
            self.assertEqual(done, status, why)
            self.assertIn(said, why)
        self.assertFalse(all(self.filled(lost)))
        done, out, why = dynode(*accept, dead.name)
        self.assertEqual(done, 0, why)
        self.cluster.wait_filled(60)
        self.assertIn(b"given up", dynode("status", "-a", lost.address, "--interval", "0s")[1])
        for node in (1, 2):
            for key, answer in zip(records, self.connect(node).call(*(get("last", key) for key in records))):
                self.assertEqual(self.values(self.ok(answer)), [records[key]])
        # It is kept, and void when that node starts again.
        self.assertEqual(lost.stop(), 0)
        lost.start()
        lost.wait_ready()
        self.cluster.wait_linked()
        self.assertIn(b"given up", dynode("status", "-a", lost.address, "--interval", "0s")[1])
        dead.start()
        dead.wait_ready()
        self.cluster.wait_linked()
        dead.kill()
        self.wait_unreachable([dead])
        self.assertNotIn(b"given up", dynode("status", "-a", lost.address, "--interval", "0s")[1])

    def waits_for(self, node):
        with Client(node.address) as connection:
            return {home for shard in connection.one(node_status()).node.shards for home in shard.unfilled_for}

    def filled(self, node):
        with Client(node.address) as connection:
            return [shard.filled for shard in connection.one(node_status()).node.shards]


if __name__ == "__main__":
    main()
