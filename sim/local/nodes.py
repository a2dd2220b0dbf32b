"""Real nodes on this machine: configurations, processes, and how they are killed, stopped and started again.

Each node has a loopback address of its own (all of 127.0.0.0/8 is there on Linux), so that every node can use the same
ports. Only processes started here are ever signalled, and the kernel ends them if this one dies.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import time

from client import Client, node_status

CLIENT_PORT, PEER_PORT = 7400, 7500
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    def __init__(self, program, folder, number, host, settings):
        self.program, self.number, self.host = program, number, host
        self.name, self.id = f"node{number}", 0xA0 + number
        self.data = os.path.join(folder, self.name)
        self.config, self.log = os.path.join(folder, f"{self.name}.yaml"), os.path.join(folder, f"{self.name}.log")
        self.address = f"tcp://{host}:{CLIENT_PORT}"
        self.peer_address = f"tcp://{host}:{PEER_PORT}"
        self.settings, self.process, self.environment = settings, None, None
        self.enter = None  # what its process does before it becomes the program

    def start(self):
        with open(self.log, "ab") as log:
            self.log_before = log.tell()
            self.process = subprocess.Popen(
                [self.program, "serve", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=self._begin, env=self.environment)

    def _begin(self):
        _die_with_parent()
        if self.enter:
            self.enter()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def kill(self):
        """As a power cut would, but for what the kernel still holds."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)

    def stop(self, seconds=20):
        """SIGTERM, and SIGKILL if that was not enough. Returns the exit status."""
        self.terminate()
        return self.wait(seconds)

    def wait(self, seconds=20):
        if self.process is None:
            return 0
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.process.returncode

    def wait_ready(self, seconds=30):
        """Until it says that it is ready, and answers a hello. An answer alone may be that of another's node at its address."""
        until = time.monotonic() + seconds
        while True:
            if not self.running():
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode}; its log:\n{self.tail()}")
            try:
                if not self.said_ready():
                    raise TimeoutError("it does not say that it is ready")
                Client(self.address, seconds=5).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise RuntimeError(f"{self.name} does not answer ({error}); its log:\n{self.tail()}") from None
                time.sleep(0.02)

    def said_ready(self):
        """Since its last start."""
        with open(self.log, "rb") as log:
            log.seek(self.log_before)
            return b" ready: clients " in log.read()

    def tail(self, lines=15):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def disk_bytes(self):
        total = 0
        for folder, _, files in os.walk(self.data):
            for file in files:
                try:
                    total += os.stat(os.path.join(folder, file)).st_blocks * 512
                except FileNotFoundError:
                    pass  # the engine removed it meanwhile
        return total


class Cluster:
    """@hosts: one loopback address per node. @shards: for all nodes, or a list. @settings: more lines of configuration."""

    def __init__(self, program, folder, hosts, shards=2, tables="", settings=""):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.nodes = []
        for index, host in enumerate(hosts):
            count = shards[index] if isinstance(shards, list) else shards
            self.nodes.append(Node(program, folder, index + 1, host, f"shards: {count}\n{settings}"))
        members = "".join(
            f"  - {{ id: {node.id:016x}, name: {node.name}, peer: '{node.peer_address}', client: '{node.address}' }}\n"
            for node in self.nodes)
        for node in self.nodes:
            with open(node.config, "w") as config:
                config.write(f"data: {node.data}\ncluster:\n  id: 00000000d740de00\nnode:\n  id: {node.id:016x}\n"
                             f"members:\n{members}{tables}{node.settings}")

    def start(self, seconds=30):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(seconds)
        self.wait_linked(seconds)
        self.wait_filled(seconds)

    def wait_filled(self, seconds=30):
        """Until every copy of every running node counts for reads: those of a new cluster do once all nodes have met."""
        until = time.monotonic() + seconds
        for node in self.nodes:
            if not node.running():
                continue
            with Client(node.address) as client:
                while not all(shard.filled for shard in client.one(node_status()).node.shards):
                    if time.monotonic() > until:
                        raise RuntimeError(f"copies of {node.name} do not count yet; its log:\n{node.tail()}")
                    time.sleep(0.05)

    def wait_linked(self, seconds=30):
        """Until every shard of every running node hears every other running node, and no other."""
        running = [node for node in self.nodes if node.running()]
        expected = {node.id for node in running}
        until = time.monotonic() + seconds
        for node in running:
            with Client(node.address) as client:
                while True:
                    shards = client.one(node_status()).node.shards
                    heard = [{peer.node for peer in shard.peers if peer.up} | {node.id} for shard in shards]
                    if all(shard == expected for shard in heard):
                        break
                    if time.monotonic() > until:
                        wrong = {f"{other:x}" for shard in heard for other in shard ^ expected}
                        raise RuntimeError(f"{node.name} is wrong about {', '.join(sorted(wrong))}; its log:\n{node.tail()}")
                    time.sleep(0.05)

    def stop(self):
        for node in self.nodes:
            node.terminate()
        return [node.wait() for node in self.nodes]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
