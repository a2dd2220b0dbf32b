"""What the tests of real processes share: a cluster of `dynode serve` on loopback addresses of its own, and its ring.

The program is the first argument of a test, built with the sanitizers: a node that is stopped runs the leak check, and
whatever a sanitizer finds makes its exit status 99. Every test class has a cluster of its own; it signals only what it
started, and nothing waits without a bound.
"""
import ctypes
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "sim", "local"))
import client  # noqa: E402
from client import Client, pb, put, status_name  # noqa: E402
from nodes import Cluster  # noqa: E402

PROGRAM = sys.argv.pop(1) if sys.argv[1:] and os.path.exists(sys.argv[1]) else os.path.join(
    client.ROOT, "build/asan/src/cli/dynode")
# The quarantine of AddressSanitizer would hide how much memory a node really keeps.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "exitcode=99") + ":quarantine_size_mb=8"
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
_used = 0


def hosts(count):
    """Loopback addresses that no other test process uses at the same time."""
    global _used
    _used += count
    pid = os.getpid()
    return [f"127.{1 + pid % 250}.{1 + pid // 250 % 250}.{_used - count + index + 1}" for index in range(count)]


def eventually(condition, what, seconds=15):
    """Poll until condition() is true; fail with @what when that takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Ring:
    """Where keys live, by ClusterInfo alone: what client.proto tells a client to compute."""

    _xxhash = ctypes.CDLL("libxxhash.so.0")
    _xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
    _xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]

    def __init__(self, description):
        self.description = description
        self.width = min(len(description.members), 15)
        self.tables = {table.name: table for table in description.tables}

    def homes(self, table, key):
        """Ids of the N home nodes, first home first."""
        table = self.tables[table]
        hash_ = self._xxhash.XXH3_64bits_withSeed(key, len(key), table.tag)
        vnode = hash_ * self.description.vnodes >> 64
        indexes = self.description.preference_lists[vnode * self.width:vnode * self.width + table.n]
        return [self.description.members[index].id for index in indexes]


class ClusterCase(unittest.TestCase):
    NODES = 5
    SHARDS = 2
    TABLES = "tables:\n  - { name: users, rule: siblings, n: 3 }\n  - { name: last, rule: lww, n: 3 }\n"
    SETTINGS = "store:\n  cache: 32MB\n  reserve: 0\n"

    @classmethod
    def setUpClass(cls):
        print(f"{cls.__name__}: SEED={SEED}", flush=True)
        cls.random = random.Random(SEED)
        cls.folder = tempfile.mkdtemp(prefix="dynode-test-")
        cls.addClassCleanup(cls._end)
        cls.cluster = Cluster(PROGRAM, cls.folder, hosts(cls.NODES), cls.SHARDS, cls.TABLES, cls.SETTINGS)
        cls.nodes = cls.cluster.nodes
        cls.begin()

    @classmethod
    def begin(cls):
        """Every node has been given its configuration."""
        cls.cluster.start(60)

    @classmethod
    def _end(cls):
        statuses = cls.cluster.stop() if hasattr(cls, "cluster") else []
        try:
            for node, status in zip(cls.nodes, statuses):
                if status not in (0, -9):  # -9: a test killed it and did not start it again
                    raise AssertionError(f"{node.name} ended with {status}; its log:\n{node.tail(60)}")
        finally:
            shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        """Every test begins with all nodes up."""
        for node in self.nodes:
            if not node.running():
                node.start()
                node.wait_ready(60)
        self.cluster.wait_linked()

    def ring(self, node=0):
        with Client(self.nodes[node].address) as connection:
            return Ring(connection.one(client.cluster_info()).cluster)

    def connect(self, node=0, **more):
        connection = Client(self.nodes[node].address, **more)
        self.addCleanup(connection.close)
        return connection

    def ok(self, answer, status="OK"):
        self.assertEqual(status_name(answer.status), status, answer.message)
        return answer

    def values(self, answer):
        return sorted(sibling.value for sibling in answer.siblings)

    def load(self, connection, table, records, **more):
        """Write them all; they must all be acknowledged."""
        keys = list(records)
        for start in range(0, len(keys), 100):
            part = keys[start:start + 100]
            for answer in connection.call(*(put(table, key, records[key], **more) for key in part)):
                self.ok(answer)

    def wait_unreachable(self, dead, seconds=15):
        """Until every living node has noticed that @dead nodes are."""
        ids = {node.id for node in dead}
        for node in self.nodes:
            if node in dead:
                continue
            with Client(node.address) as connection:
                eventually(lambda: not ids & {peer.node for shard in connection.one(client.node_status()).node.shards
                                              for peer in shard.peers if peer.up}, f"{node.name} notices", seconds)

    def memory(self, node, what="VmRSS"):
        with open(f"/proc/{node.process.pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith(what))

    def forget_peak(self, node):
        """From here on memory(node, "VmHWM") is the most it had since."""
        with open(f"/proc/{node.process.pid}/clear_refs", "w") as file:
            file.write("5")


def dynode(*arguments, stdin=b"", seconds=30, **environment):
    """Run the command line; returns (exit status, stdout, stderr). A command's memory ends with its process."""
    environment["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":detect_leaks=0"
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, timeout=seconds,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def raw(address, seconds=10):
    """A socket to misuse."""
    host, port = address[len("tcp://"):].rsplit(":", 1)
    return socket.create_connection((host, int(port)), seconds)


def main():
    unittest.main(verbosity=2)
