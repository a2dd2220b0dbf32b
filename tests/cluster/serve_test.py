#!/usr/bin/env python3
"""dynode serve as its user meets it: the one line when it is ready, the one line when it cannot start, and its end.

Usage: serve_test.py DYNODE. A real process on loopback; nothing is left behind.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

DYNODE = sys.argv.pop(1)
STOP_SECONDS = 10  # what `dynode serve --help` promises
PATIENCE_SECONDS = 60  # for whatever has no bound of its own


class Serve(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dynode-serve-")
        self.data = os.path.join(self.root, "data")
        self.nodes = []

    def tearDown(self):
        for node in self.nodes:
            if node.poll() is None:
                node.kill()
            node.wait()
            node.stdout.close()
            node.stderr.close()
        shutil.rmtree(self.root)

    def config(self, text, name="node.yaml"):
        path = os.path.join(self.root, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self, *arguments):
        """A node that is ready: the process, and its first client address."""
        node = subprocess.Popen([DYNODE, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.nodes.append(node)
        line = node.stdout.readline()
        ready = re.match(r"dynode (\S+) ready: clients (\S+).*, peers (\S+), (\d+) shards?, data (\S+)\n$", line)
        self.assertTrue(ready, (line, "" if node.poll() is None else node.stderr.read()))
        return node, ready.group(2)

    def stop(self, node, number=signal.SIGTERM):
        node.send_signal(number)
        node.wait(STOP_SECONDS + 5)  # and the sanitizers' own end
        return node.returncode

    def refused(self, *arguments):
        """The line of a node that does not start."""
        done = subprocess.run([DYNODE, "serve", *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0].replace(self.root, "ROOT")

    def dynode(self, address, *arguments, status=0):
        done = subprocess.run([DYNODE, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS,
                              env={**os.environ, "DYNODE_ADDRESS": address})
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def failed(self, address, *arguments):
        """What a command says that ends with status 3."""
        done = subprocess.run([DYNODE, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS,
                              env={**os.environ, "DYNODE_ADDRESS": address})
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        return done.stderr

    def test_what_was_acknowledged_is_there_after_a_stop_and_after_a_kill(self):
        arguments = ["--data", self.data, "--listen", "tcp://127.0.0.1:0"]
        node, address = self.start(*arguments)
        self.dynode(address, "table", "create", "t")
        self.dynode(address, "put", "t", "stopped", "1")
        self.assertEqual(self.stop(node), 0)
        node, address = self.start(*arguments)
        self.assertEqual(self.dynode(address, "get", "t", "stopped", "--raw"), "1")
        self.dynode(address, "put", "t", "killed", "2")
        node.kill()
        node.wait()
        node, address = self.start(*arguments)
        self.assertEqual(self.dynode(address, "get", "t", "killed", "--raw"), "2")
        self.assertEqual(self.stop(node, signal.SIGINT), 0)

    def test_idle_and_silent_clients_do_not_hold_up_a_stop(self):
        node, address = self.start("--data", self.data, "--listen", "tcp://127.0.0.1:0")
        host, port = address[len("tcp://"):].split(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(20)]
        for client in clients[:10]:
            client.sendall(b"\0\0\0\x40half a hello")
        self.assertEqual(self.stop(node), 0)
        for client in clients:
            client.close()

    def test_both_kinds_of_address_at_once(self):
        path = os.path.join(self.root, "socket")
        node, address = self.start("--data", self.data, "--listen", "unix://" + path, "--listen", "tcp://127.0.0.1:0")
        self.assertEqual(address, "unix://" + path)
        self.dynode(address, "status")
        node.kill()  # the socket's file stays behind
        node.wait()
        node, address = self.start("--data", self.data, "--listen", "unix://" + path)
        self.dynode(address, "status")
        self.assertEqual(self.stop(node), 0)
        self.assertFalse(os.path.exists(path))

    def test_a_taken_port_and_a_taken_directory(self):
        node, address = self.start("--data", self.data, "--listen", "tcp://127.0.0.1:0")
        other = os.path.join(self.root, "other")
        self.assertEqual(self.refused("--data", other, "--listen", address),
                         f"dynode serve: {address}: cannot listen: the port is in use by another process")
        self.assertFalse(os.path.exists(other))
        self.assertEqual(self.refused("--data", self.data, "--listen", "tcp://127.0.0.1:0"),
                         "dynode serve: data directory ROOT/data is in use by another process")
        self.dynode(address, "status")  # unharmed
        self.assertEqual(self.stop(node), 0)

    def test_shards_cannot_change(self):
        text = f"data: {self.data}\nshards: %s\nlisten: {{client: ['tcp://127.0.0.1:0']}}\n"
        node, address = self.start("--config", self.config(text % 2))
        self.dynode(address, "table", "create", "t")
        self.dynode(address, "put", "t", "k", "v")
        self.assertEqual(self.stop(node), 0)
        said = "dynode serve: ROOT/data: its data was made with 2 shards, not 3 as shards says: set it back"
        self.assertEqual(self.refused("--config", self.config(text % 3)), said)
        self.assertEqual(self.refused("--config", self.config(text % 3), "--check"), said)
        node, address = self.start("--config", self.config(text % "auto"))
        self.assertEqual(self.dynode(address, "get", "t", "k", "--raw"), "v")
        self.assertEqual(self.stop(node), 0)

    def test_the_engine_of_a_store_cannot_change(self):
        text = f"data: {self.data}\nshards: 2\nlisten: {{client: ['tcp://127.0.0.1:0']}}\nstore: {{cache: 64MB, engine: %s}}\n"
        for made, other in (("btree", "lsm"), ("lsm", "btree")):
            node, address = self.start("--config", self.config(text % made))
            self.dynode(address, "table", "create", "t")
            self.dynode(address, "put", "t", "k", made)
            self.assertEqual(self.stop(node), 0)
            said = f"dynode serve: ROOT/data: its data was made with store.engine {made}, not {other}: set it back"
            self.assertEqual(self.refused("--config", self.config(text % other)), said)
            self.assertEqual(self.refused("--config", self.config(text % other), "--check"), said)
            node, address = self.start("--config", self.config(text % made))
            self.assertEqual(self.dynode(address, "get", "t", "k", "--raw"), made)
            self.assertEqual(self.stop(node), 0)
            shutil.rmtree(self.data)

    def test_a_reserve_that_is_not_there(self):
        """What refuses is the reserve, not a full disk: how much is left, and how much is kept."""
        text = f"data: {self.data}\nshards: 1\nlisten: {{client: ['tcp://127.0.0.1:0']}}\nstore: {{cache: 32MB, reserve: %s}}\n"
        kept = r"has \d+MB left, and store.reserve keeps 1048576MB free"
        self.assertRegex(self.refused("--config", self.config(text % "1TB")),
                         rf"^dynode serve: ROOT/data/shard-000: there is no room for a store: the disk {kept}$")
        node, address = self.start("--config", self.config(text % "0"))
        self.dynode(address, "table", "create", "t")
        self.dynode(address, "put", "t", "k", "v")
        self.assertEqual(self.stop(node), 0)
        node, address = self.start("--config", self.config(text % "1TB"))
        for refused, whose in ((("put", "t", "k", "w"), "the coordinating node"), (("delete", "t", "k"), "the coordinating node"),
                               (("table", "create", "u"), "this node")):
            said = self.failed(address, *refused)
            self.assertRegex(said, f"the disk of {whose} {kept}", refused)
        self.assertEqual(self.dynode(address, "get", "t", "k", "--raw"), "v")
        self.assertEqual(self.stop(node), 0)

    def test_caches_that_cannot_be(self):
        text = f"data: {self.data}\nshards: %s\nlisten: {{client: ['tcp://127.0.0.1:0']}}\nstore: {{cache: %s%s}}\n"
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        for shards, cache, more, said in (
                (2, "1MB", "", "ROOT/node.yaml:4: store.cache: btree with 2 shards needs at least 2MB"),
                (2, "63MB", ", engine: lsm", "ROOT/node.yaml:4: store.cache: lsm with 2 shards needs at least 64MB"),
                (1, "0", "", "ROOT/node.yaml:4: store.cache: '0' is not allowed: a size from 1MB to 1TB, such as 256MB"),
                (1, f"{memory + 1}MB", "",
                 f"store.cache: {memory + 1}MB is more than the memory of this machine, {memory}MB")):
            path = self.config(text % (shards, cache, more))
            for arguments in (["--check"], []):
                self.assertEqual(self.refused("--config", path, *arguments), "dynode serve: " + said)
                self.assertFalse(os.path.exists(self.data))
        path = self.config(text % (2, "2MB", ""))  # the least is enough
        self.assertEqual(self.checked(path), path + ": ok\n")
        node, _ = self.start("--config", self.config(text % (8, "64MB", "")))
        self.assertEqual(self.stop(node), 0)
        # The data has more shards than this machine would give it.
        path = self.config(text % ("auto", "4MB", ""))
        said = "dynode serve: store.cache: too little for the 8 shards of ROOT/data: at least 8MB is needed"
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, [min(cores)])
        try:
            for arguments in (["--check"], []):
                self.assertEqual(self.refused("--config", path, *arguments), said)
        finally:
            os.sched_setaffinity(0, cores)
        path = self.config(text % ("auto", "8MB", ""))
        self.assertEqual(self.checked(path), path + ": ok\n")

    def test_check_looks_and_changes_nothing(self):
        text = f"data: {self.data}\nlisten: {{client: ['tcp://127.0.0.1:0']}}\n"
        path = self.config(text + "shards: 2\n")
        self.assertEqual(self.checked(path), path + ": ok\n")
        self.assertFalse(os.path.exists(self.data))
        node, address = self.start("--config", path)
        self.assertEqual(self.checked(path), path + ": ok\n")  # of a node that runs
        self.dynode(address, "status")
        self.assertEqual(self.stop(node), 0)
        before = self.files()
        for more, said in (
                ("shards: 4\n", "its data was made with 2 shards, not 4 as shards says: set it back"),
                ("shards: 1\n", "its data was made with 2 shards, not 1 as shards says: set it back"),
                ("cluster: {vnodes: 64}\n", "its data was made with 1024 vnodes, not 64 as cluster.vnodes says")):
            self.assertEqual(self.refused("--config", self.config(text + more), "--check"),
                             "dynode serve: ROOT/data: " + said)
        self.assertEqual(self.checked(self.config(text)), path + ": ok\n")
        self.assertEqual(self.files(), before)
        os.remove(os.path.join(self.data, "node"))
        self.assertIn("the file `node` that says whose they are is gone", self.refused("--config", path, "--check"))

    def files(self):
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = file.read()
        return found

    def checked(self, path):
        """What --check says of a configuration that is right."""
        done = subprocess.run([DYNODE, "serve", "--config", path, "--check"], capture_output=True, text=True,
                              timeout=PATIENCE_SECONDS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_wrong_configurations_and_arguments(self):
        bad = self.config("data: /d\nshards: many\n", "bad.yaml")
        said = "dynode serve: ROOT/bad.yaml:2: shards: 'many' is not allowed: auto, or a number from 1 to 256"
        self.assertEqual(self.refused("--config", bad), said)
        self.assertEqual(self.refused("--config", bad, "--check"), said)
        self.assertEqual(self.refused("--config", self.root + "/none.yaml"),
                         "dynode serve: ROOT/none.yaml: cannot be read: No such file or directory")
        self.assertEqual(self.refused("--data", self.data, "--listen", "7400"),
                         "dynode serve: --listen 7400: tcp://HOST:PORT or unix:///PATH is needed")
        self.assertEqual(self.refused(),
                         "dynode serve: --config FILE or --data DIR is needed: see dynode serve --help")
        self.assertEqual(self.refused("--data", self.root + "/no/such"),
                         "dynode serve: ROOT/no/such: the data directory cannot be made: No such file or directory")
        self.assertFalse(os.path.exists(self.data))

    def test_configured_tables_are_there(self):
        path = self.config(f"data: {self.data}\nlisten: {{client: ['tcp://127.0.0.1:0']}}\n"
                           "tables: [{name: carts}, {name: logs, rule: lww, ttl: 1d}]\n")
        node, address = self.start("--config", path)
        self.dynode(address, "put", "carts", "k", "v")
        self.assertIn("logs", self.dynode(address, "table", "list"))
        self.dynode(address, "table", "drop", "logs")
        self.assertEqual(self.stop(node), 0)
        node, address = self.start("--config", path)
        self.assertNotIn("logs", self.dynode(address, "table", "list"))  # an operator's word outlives the configuration
        self.assertEqual(self.stop(node), 0)


unittest.main(verbosity=2)
