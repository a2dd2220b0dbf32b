"""What a node's beginning and end mean to its clients and its data (serve_test.py: what they mean to who types the command)."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

from fixture import PROGRAM, ClusterCase, dynode, eventually, hosts, main
from client import Client, get, pb, put  # fixture says where it is

STOP_SECONDS = 15  # SIGTERM to exit; what `dynode serve --help` states, and room for a slow machine


class Alone(unittest.TestCase):
    """Nodes of clusters of one."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="dynode-test-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.host, = hosts(1)
        self.started = []
        self.addCleanup(self.end)

    def end(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()

    def config(self, name="node", **settings):
        lines = dict(data=f"{self.folder}/{name}", shards=1, store="{ cache: 32MB, reserve: 0 }",
                     listen=f"{{ client: ['tcp://{self.host}:7400'], peer: 'tcp://{self.host}:7500' }}",
                     tables="[{ name: users, n: 1 }]")
        lines.update(settings)
        path = f"{self.folder}/{name}.yaml"
        with open(path, "w") as file:
            file.write("".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None))
        return path

    def serve(self, config):
        log = open(config + ".log", "ab")
        process = subprocess.Popen([PROGRAM, "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
        log.close()
        self.started.append(process)
        return process

    def ready(self, process, address=None):
        def answers():
            self.assertIsNone(process.poll(), "it ended")
            try:
                Client(address or f"tcp://{self.host}:7400").close()
                return True
            except OSError:
                return False
        eventually(answers, "the node answers", 30)

    def stop(self, process):
        began = time.monotonic()
        process.terminate()
        self.assertEqual(process.wait(STOP_SECONDS + 5), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)

    def refused(self, *arguments):
        """Exit status 2 and one line."""
        status, out, error = dynode("serve", *arguments)
        self.assertEqual((status, error.count("\n")), (2, 1), error)
        return error

    def write(self, value, address=None):
        with Client(address or f"tcp://{self.host}:7400") as connection:
            self.assertEqual(connection.one(put("users", b"key", value)).status, pb.OK)

    def read(self):
        with Client(f"tcp://{self.host}:7400") as connection:
            return [sibling.value for sibling in connection.one(get("users", b"key")).siblings]

    def test_second_process_on_the_same_directory(self):
        first = self.serve(self.config())
        self.ready(first)
        self.write(b"held")
        other, = hosts(1)
        second = self.config("second", data=f"{self.folder}/node",
                             listen=f"{{ client: ['tcp://{other}:7400'], peer: 'tcp://{other}:7500' }}")
        self.assertIn(f"{self.folder}/node", self.refused("--config", second))
        self.assertEqual(self.read(), [b"held"], "nothing harmed")
        self.stop(first)
        again = self.serve(self.config())
        self.ready(again)
        self.assertEqual(self.read(), [b"held"])
        self.stop(again)

    def test_taken_peer_port(self):
        config = self.config(node="{ id: 00000000000000a1 }", cluster="{ id: 00000000000000c1 }", listen=None, members=(
            f"[{{ id: 00000000000000a1, name: one, peer: 'tcp://{self.host}:7500', client: 'tcp://{self.host}:7400' }},"
            f" {{ id: 00000000000000a2, name: two, peer: 'tcp://{self.host}:7501', client: 'tcp://{self.host}:7401' }}]"))
        with socket.socket() as taken:
            taken.bind((self.host, 7500))
            taken.listen()
            self.assertIn("7500", self.refused("--config", config))

    def test_unwritable_directory(self):
        with open(f"{self.folder}/file", "w") as file:
            file.write("in the way")
        self.assertIn(f"{self.folder}/file", self.refused("--config", self.config(data=f"{self.folder}/file")))
        self.assertIn(f"{self.folder}/file", self.refused("--config", self.config(data=f"{self.folder}/file/below")))
        with open(f"{self.folder}/file") as file:
            self.assertEqual(file.read(), "in the way")
        if os.getuid() != 0:
            os.mkdir(f"{self.folder}/shut", 0o500)
            self.refused("--config", self.config(data=f"{self.folder}/shut"))

    def test_configuration_that_is_wrong(self):
        self.assertIn("/none.yaml", self.refused("--config", f"{self.folder}/none.yaml"))
        for settings in (dict(shards=0), dict(shards="many"), dict(data=None), dict(colour="red"),
                         dict(listen="{ client: ['tcp://nowhere'] }"), dict(tables="[{ name: 'a b' }]"),
                         dict(tables="[{ name: a, n: 3 }]"), dict(store="{ cache: 1 }")):
            with self.subTest(settings):
                path = self.config(**settings)
                for arguments in (("--config", path), ("--config", path, "--check")):
                    self.assertRegex(self.refused(*arguments), re.escape(path))
        status, _, error = dynode("serve", "--config", self.config(), "--check")
        self.assertEqual(status, 0, error)
        self.assertFalse(os.path.exists(f"{self.folder}/node"), "--check only looks")

    def test_unix_socket(self):
        path = f"{self.folder}/socket"
        node = self.serve(self.config(listen=f"{{ client: ['unix://{path}', 'tcp://{self.host}:7400'] }}"))
        self.ready(node, f"unix://{path}")
        self.write(b"by a socket", f"unix://{path}")
        self.assertEqual(self.read(), [b"by a socket"])
        status, out, error = dynode("get", "-a", f"unix://{path}", "users", "key", "--raw")
        self.assertEqual((status, out), (0, b"by a socket"), error)
        # A socket that a killed node left behind is no obstacle.
        node.kill()
        node.wait()
        self.assertTrue(os.path.exists(path))
        node = self.serve(self.config(listen=f"{{ client: ['unix://{path}', 'tcp://{self.host}:7400'] }}"))
        self.ready(node, f"unix://{path}")
        self.assertEqual(self.read(), [b"by a socket"])
        self.stop(node)

    def test_sigterm_answers_what_it_took(self):
        node = self.serve(self.config())
        self.ready(node)
        connection = Client(f"tcp://{self.host}:7400")
        sent = [connection.send([put("users", b"drain/%d/%d" % (batch, number), b"value") for number in range(50)])
                for batch in range(20)]
        began = time.monotonic()
        node.terminate()
        acknowledged = []
        for batch, request in enumerate(sent):
            try:
                answers = connection.receive(request)
            except ConnectionError:
                break
            for number, answer in enumerate(answers):
                self.assertIn(answer.status, (pb.OK, pb.STOPPING))
                if answer.status == pb.OK:
                    acknowledged.append(b"drain/%d/%d" % (batch, number))
        connection.close()
        self.assertEqual(node.wait(STOP_SECONDS + 5), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)
        node = self.serve(self.config())
        self.ready(node)
        with Client(f"tcp://{self.host}:7400") as connection:
            for start in range(0, len(acknowledged), 500):
                part = acknowledged[start:start + 500]
                for answer in connection.call(*(get("users", key) for key in part)):
                    self.assertEqual(answer.status, pb.OK, "what was acknowledged is there")
        self.stop(node)

    def test_acknowledged_survives_sigkill(self):
        node = self.serve(self.config())
        self.ready(node)
        connection = Client(f"tcp://{self.host}:7400")
        sent = [connection.send([put("users", b"kill/%d/%d" % (batch, number), b"value") for number in range(20)])
                for batch in range(100)]
        acknowledged = []
        for batch, request in enumerate(sent):
            if batch == 30:
                node.kill()
            try:
                answers = connection.receive(request)
            except ConnectionError:
                break
            acknowledged += [b"kill/%d/%d" % (batch, number) for number, answer in enumerate(answers)
                             if answer.status == pb.OK]
        connection.close()
        node.wait()
        self.assertGreater(len(acknowledged), 100)
        node = self.serve(self.config())
        self.ready(node)
        with Client(f"tcp://{self.host}:7400") as connection:
            for start in range(0, len(acknowledged), 500):
                part = acknowledged[start:start + 500]
                for key, answer in zip(part, connection.call(*(get("users", key) for key in part))):
                    self.assertEqual(answer.status, pb.OK, key)
        self.stop(node)

    def test_version_and_help(self):
        for arguments in (("--version",), ("--help",), ("serve", "--help")):
            status, out, _ = dynode(*arguments)
            self.assertEqual(status, 0)
            self.assertTrue(out)
        status, out, error = dynode("serve", "--nonsense")
        self.assertEqual(status, 2)


if __name__ == "__main__":
    main()
