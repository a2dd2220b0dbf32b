"""What a node's beginning and end mean to its clients and its data (serve_test.py: what they mean to who types the command)."""
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

from fixture import PROGRAM, ClusterCase, dynode, eventually, hosts, main
import client  # fixture says where it is
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

    def serve(self, config, before=None):
        log = open(config + ".log", "ab")
        process = subprocess.Popen([PROGRAM, "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True, preexec_fn=before)
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
        self.assertEqual(os.listdir(f"{self.folder}/node"), ["lock"], "nothing of a node's was made")

    def test_too_few_descriptors(self):
        config = self.config(shards=40, store="{ cache: 64MB, reserve: 0 }")
        done = subprocess.run([PROGRAM, "serve", "--config", config], capture_output=True, text=True, timeout=60,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400)))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("descriptors", done.stderr.splitlines()[-1])
        self.assertEqual(os.listdir(f"{self.folder}/node"), ["lock"], "nothing of a node's was made")

    def test_a_shard_for_each_core_it_may_use(self):
        cores = sorted(os.sched_getaffinity(0))
        for allowed in (cores[-1:], cores[:2]) if len(cores) > 1 else (cores,):
            use = len(allowed)
            config = self.config(f"auto{use}", shards="auto", pin="true")
            node = self.serve(config, lambda: os.sched_setaffinity(0, allowed))
            self.ready(node)
            with Client(f"tcp://{self.host}:7400") as connection:
                self.assertEqual(connection.welcome.shards, use)
            threads = {}
            for thread in os.listdir(f"/proc/{node.pid}/task"):
                with open(f"/proc/{node.pid}/task/{thread}/comm") as name:
                    threads.setdefault(name.read().strip(), []).append(os.sched_getaffinity(int(thread)))
            for shard, core in enumerate(allowed):
                self.assertEqual(threads.pop(f"shard {shard}"), [{core}])
            for name, found in threads.items():
                self.assertEqual(found, [set(allowed)] * len(found), f"{name}: only shards are pinned")
            self.assertEqual(len(threads["flusher"]), use)
            self.stop(node)

    def test_log_levels(self):
        hello = client.hello(name="a name\n")  # what is not printable is shown as ?
        for level, warns, informs in (("error", False, False), ("warn", True, False), ("info", True, True),
                                     ("debug", True, True)):
            config = self.config(level, log=f"{{ level: {level} }}")
            node = self.serve(config)
            self.ready(node)
            with socket.create_connection((self.host, 7400), 30) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                self.assertEqual(stranger.recv(1), b"", "the connection ends")
            with socket.create_connection((self.host, 7400), 30) as friend:
                friend.sendall(hello)
                self.assertTrue(friend.recv(1))
            self.stop(node)
            with open(config + ".log") as file:
                said = file.read()
            self.assertEqual((" warn client " in said, " info stopping: SIGTERM" in said), (warns, informs), said)
            self.assertEqual(': hello from "a name?"' in said, level == "debug", said)

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

    def test_sigterm_with_large_values_in_flight(self):
        node = self.serve(self.config(shards=2))
        self.ready(node)
        value = os.urandom(1 << 20)

        def drive(shard, told):
            with Client(f"tcp://{self.host}:7400", shard=shard, seconds=30) as connection:
                sent = []
                try:
                    for number in range(1000):
                        operation = put("users", b"%d/%d" % (shard, number), value) if number % 2 == 0 else \
                            get("users", b"%d/%d" % (shard, number - 1))
                        sent.append(connection.send([operation], 20000))
                        if len(sent) == 4:
                            told.append(connection.receive(sent.pop(0))[0].status)
                except OSError:
                    pass  # the node no longer reads
                try:
                    while sent:
                        told.append(connection.receive(sent.pop(0))[0].status)
                except OSError:
                    pass
        told = [[], []]
        drivers = [threading.Thread(target=drive, args=(index + 1, told[index])) for index in range(2)]
        for driver in drivers:
            driver.start()
        eventually(lambda: all(len(statuses) > 4 for statuses in told), "values go in and out", 30)
        began = time.monotonic()
        node.terminate()
        self.assertEqual(node.wait(STOP_SECONDS + 5), 0)
        self.assertLess(time.monotonic() - began, STOP_SECONDS)
        for driver in drivers:
            driver.join()
        for statuses in told:
            self.assertLessEqual(set(statuses), {pb.OK, pb.STOPPING})

    def test_one_stop_that_is_signalled_twice(self):
        node = self.serve(self.config())
        self.ready(node)
        for _ in range(2):  # as timeout(1) does
            node.terminate()
        self.assertEqual(node.wait(STOP_SECONDS + 5), 0)

    def until_full(self, connection):
        """Until no more answers fit into the sockets: what the node has not begun to answer it would answer STOPPING."""
        waiting = [0]
        def still():
            time.sleep(0.3)
            waiting.append(struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0])
            return waiting[-1] == waiting[-2] > 0
        eventually(still, "the answers fill the sockets")

    def test_second_signal_ends_a_stop_that_waits(self):
        config = self.config()
        for second in (signal.SIGTERM, signal.SIGINT, None):
            name = b"%s/" % str(second).encode()
            node = self.serve(config)
            self.ready(node)
            with Client(f"tcp://{self.host}:7400", seconds=30) as connection:
                answers = connection.call(*(put("users", name + b"%d" % number, bytes(1 << 20)) for number in range(3)))
                self.assertEqual([answer.status for answer in answers], [pb.OK] * 3)
            self.write(name)
            # A client that asks for more than the sockets hold, and takes none of it: the node waits for it.
            holder = Client(f"tcp://{self.host}:7400", seconds=30)
            self.addCleanup(holder.close)
            for number in range(24):
                holder.send([get("users", name + b"%d" % (number % 3))], 20000)
            self.until_full(holder.socket)
            with open(config + ".log") as log:
                log.seek(0, os.SEEK_END)
                node.terminate()
                said = []
                eventually(lambda: "stopping: SIGTERM" in (said.append(log.read()) or "".join(said)), "it stops")
                if second is not None:
                    time.sleep(0.5)  # at once it would be the first again
                    node.send_signal(second)
                self.assertEqual(node.wait(STOP_SECONDS + 5), 0 if second is None else 3)
                said = "".join(said) + log.read()
            # Without a second signal the same client only costs it its patience: so the status shows who ended it.
            self.assertEqual("the stop was asked for again" in said, second is not None, said)
            self.assertEqual("some requests were left without an answer" in said, second is None, said)
            holder.close()
            node = self.serve(config)
            self.ready(node)
            self.assertIn(name, self.read())
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
