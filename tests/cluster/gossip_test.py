"""Gossip and links between real nodes: a node that knows one other learns all there is, a stranger is refused, in words on both
sides, and a node speaks on links that it dialled only."""
import collections
import importlib
import os
import re
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from fixture import ClusterCase, eventually, hosts, main, raw
from client import ROOT, cluster_info, create_table, frame, get, list_tables, put  # fixture says where it is


def change_config(node, change):
    with open(node.config) as config:
        text = config.read()
    changed = change(text)
    assert changed != text, "the configuration has another form than this test believes"
    with open(node.config, "w") as config:
        config.write(changed)


class Known(ClusterCase):
    """What both have in common: who knows what."""

    def members(self, node):
        with_connection = self.connect(self.nodes.index(node))
        return {member.id for member in with_connection.one(cluster_info()).cluster.members}

    def tables(self, node):
        return {table.name for table in self.connect(self.nodes.index(node)).one(list_tables()).tables.tables}


class Seeds(Known):
    """The first node's configuration has all members and tables; the others' have themselves and the first node."""
    NODES = 4

    @classmethod
    def begin(cls):
        for node in cls.nodes[1:]:
            strangers = "|".join(other.name for other in cls.nodes[1:] if other is not node)
            change_config(node, lambda text: re.sub(rf"  - {{ id: \w+, name: ({strangers}),.*\n", "", text)
                          .replace(cls.TABLES, ""))
        for node in cls.nodes:
            node.start()
        for node in cls.nodes:
            node.wait_ready(60)

    def test_one_seed_is_enough(self):
        everybody = {node.id for node in self.nodes}
        for node in self.nodes:
            eventually(lambda: self.members(node) == everybody, f"{node.name} knows all members")
            self.assertEqual(self.tables(node), {"users", "last"})
        self.cluster.wait_linked()
        self.cluster.wait_filled()
        for number, node in enumerate(self.nodes):
            self.ok(self.connect(number).one(put("users", b"by/%d" % number, node.name.encode())))
        # What was learned is kept: the seed may be gone when they start again.
        victim = self.nodes[3]
        self.nodes[0].kill()
        self.assertEqual(victim.stop(), 0)
        victim.start()
        victim.wait_ready(60)
        self.assertEqual(self.members(victim), everybody)
        self.cluster.wait_linked()
        for number, node in enumerate(self.nodes):
            self.assertEqual(self.values(self.ok(self.connect(3).one(get("users", b"by/%d" % number)))), [node.name.encode()])
        # And what was made meanwhile reaches who was away.
        self.ok(self.connect(3).one(create_table("meanwhile", n=3)))
        self.nodes[0].start()
        self.nodes[0].wait_ready(60)
        eventually(lambda: "meanwhile" in self.tables(self.nodes[0]), "the seed learns what was made without it")


class Moved(Known):
    """All nodes get new addresses while they are down, at which each other's may have been before."""
    NODES = 3

    def test_everybody_moves(self):
        for number in range(20):
            self.ok(self.connect(number % 3).one(put("users", b"%d" % number, b"value")))
        for node in self.nodes:
            self.assertEqual(node.stop(), 0)
        old = [node.host for node in self.nodes]
        new = [old[1], old[2], hosts(1)[0]]
        for node, host in zip(self.nodes, new):
            change_config(node, lambda text: re.sub("|".join(map(re.escape, old)), lambda found: new[old.index(found[0])], text))
            node.host, node.address, node.peer_address = (text.replace(node.host, host) for text in (node.host, node.address, node.peer_address))
        self.cluster.start()
        for number in range(20):
            self.assertEqual(self.values(self.ok(self.connect(number % 3).one(get("users", b"%d" % number, r=3)))), [b"value"])
        # One that moves while the others run tells them.
        moved = self.nodes[1]
        self.assertEqual(moved.stop(), 0)
        host = hosts(1)[0]
        change_config(moved, lambda text: text.replace(moved.host, host))
        moved.host, moved.address, moved.peer_address = (text.replace(moved.host, host) for text in (moved.host, moved.address, moved.peer_address))
        moved.start()
        moved.wait_ready(60)
        self.cluster.wait_linked()
        # A configuration that is out of date does no harm.
        changed = self.nodes[2]
        self.assertEqual(changed.stop(), 0)
        change_config(changed, lambda text: text.replace(f"peer: 'tcp://{new[0]}", f"peer: 'tcp://{old[0]}"))
        changed.start()
        changed.wait_ready(60)
        self.cluster.wait_linked()


class Strangers(Known):
    """The third node is of another cluster, the fourth has other vnodes; all have one another's addresses."""
    NODES = 4

    @classmethod
    def begin(cls):
        change_config(cls.nodes[2], lambda text: text.replace("id: 00000000d740de00", "id: 00000000d740de01"))
        change_config(cls.nodes[3], lambda text: text.replace("id: 00000000d740de00\n", "id: 00000000d740de00\n  vnodes: 256\n"))
        for node in cls.nodes:
            node.start()
        for node in cls.nodes:
            node.wait_ready(60)

    def setUp(self):
        pass  # they will never all be linked

    def says(self, node, pattern):
        def said():
            with open(node.log, errors="replace") as log:
                return re.search(pattern, log.read()) is not None
        eventually(said, f"{node.name} says {pattern}; its log:\n{node.tail(30)}")

    def test_a_stranger_is_refused_in_words(self):
        one, two, other_cluster, other_vnodes = self.nodes
        for here, there, what in ((one, other_cluster, r"cluster 00000000d740de0\d is there, 00000000d740de0\d here"),
                                  (one, other_vnodes, r"\d+ vnodes are configured there, \d+ here")):
            for host, guest in ((here, there), (there, here)):
                self.says(host, rf"peer port: node {guest.id:016x} was refused: {what}")
                self.says(guest, rf"link from shard \d to {host.name} at {host.peer_address}: it refuses, in its own words: {what}")
        # Nothing of theirs is known here, and nothing of ours there, while the two that belong together do.
        self.ok(self.connect(0).one(create_table("ours", n=2)))
        self.ok(self.connect(2).one(create_table("theirs", n=1)))
        self.ok(self.connect(3).one(create_table("others", n=1)))
        eventually(lambda: "ours" in self.tables(two), "who belongs here is told")
        for node, table in ((one, "ours"), (two, "ours"), (other_cluster, "theirs"), (other_vnodes, "others")):
            self.assertEqual(self.tables(node), {"users", "last", table})


class Played(Known):
    """The second node is this test, on plain sockets: it is dialled by the first, and dials it."""
    NODES = 2
    TABLES = "tables:\n  - { name: users, rule: siblings, n: 2 }\n"

    @classmethod
    def begin(cls):
        cls.nodes[0].start()
        cls.nodes[0].wait_ready(60)

    def setUp(self):
        made = tempfile.mkdtemp(prefix="dynode-test-")
        self.addCleanup(shutil.rmtree, made)
        proto = os.path.join(ROOT, "proto")
        subprocess.run(["protoc", "-I", proto, f"--python_out={made}", proto + "/peer.proto"], check=True)
        sys.path.append(made)
        self.addCleanup(sys.path.remove, made)
        self.peer = importlib.import_module("peer_pb2")

    def hello(self, **more):
        return self.peer.PeerHello(magic=0x64796E70, version_min=1, version_max=1, cluster=0xD740DE00, vnodes=1024,
                                   node=self.nodes[1].id, incarnation=self.born, **more)

    def test_a_node_sends_on_links_that_it_dialled(self):
        """On those that were dialled to it there is its answer to the hello, whatever it has to say: heartbeats, answers, writes."""
        node, self.born = self.nodes[0], int(time.time() * 1000)
        host, port = self.nodes[1].peer_address[len("tcp://"):].split(":")
        listener = socket.create_server((host, int(port)))
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        ours = {(shard, beats): raw(node.peer_address) for shard in range(self.SHARDS) for beats in (False, True)}
        for (shard, beats), connection in ours.items():
            connection.sendall(frame(self.hello(from_shard=shard, to_shard=shard, beats=beats)))
        theirs = {connection: None for connection in ours.values()}  # by connection: what its dialler's hello said
        rest, answers, heard = {}, {}, collections.Counter()
        client = self.connect(0)
        written = None

        def take(connection, body):
            if connection in ours.values():
                answers.setdefault(connection, []).append(self.peer.PeerHello.FromString(body))
            elif theirs[connection] is None:
                theirs[connection] = hello = self.peer.PeerHello.FromString(body)
                self.assertEqual((hello.node, hello.refused), (node.id, ""))
                connection.sendall(frame(self.hello(from_shard=hello.to_shard, to_shard=hello.from_shard)))
            else:
                hello, batch = theirs[connection], self.peer.Batch.FromString(body)
                for message in batch.messages:
                    kind = message.WhichOneof("body")
                    heard[kind] += 1
                    if kind == "ping":
                        answer = self.peer.Message(to_shard=batch.from_shard, request=message.request, pong=self.peer.Pong(
                            data=message.ping.data))
                        asked = self.peer.Message(to_shard=batch.from_shard, ping=self.peer.Ping(data=message.ping.data))
                        ours[hello.from_shard, hello.beats].sendall(frame(self.peer.Batch(
                            from_node=self.nodes[1].id, from_shard=hello.to_shard, messages=[answer, asked])))

        for connection in ours.values():
            selector.register(connection, selectors.EVENT_READ)
        until = time.monotonic() + 20
        while time.monotonic() < until and not (heard["ping"] > 20 and heard["pong"] > 20 and heard["merge"] > 0):
            if written is None and heard["pong"] > 10:  # its links are up, both ways
                written = client.send([put("users", b"key %d" % number, b"value", w=1) for number in range(20)], 5000)
            for key, _ in selector.select(1):
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    self.addCleanup(connection.close)
                    theirs[connection] = None
                    selector.register(connection, selectors.EVENT_READ)
                    continue
                data = key.fileobj.recv(1 << 20)
                self.assertTrue(data or key.fileobj not in ours.values(), "what we dialled stays")
                if not data:
                    selector.unregister(key.fileobj)
                bytes_ = rest.get(key.fileobj, b"") + data
                while len(bytes_) >= 4 and len(bytes_) >= 4 + (size := struct.unpack(">I", bytes_[:4])[0]):
                    take(key.fileobj, bytes_[4:4 + size])
                    bytes_ = bytes_[4 + size:]
                rest[key.fileobj] = bytes_
        for answer in client.receive(written):
            self.ok(answer)
        print(dict(heard), flush=True)
        for kind in "ping", "pong":
            self.assertGreater(heard[kind], 20)
        self.assertGreater(heard["merge"], 0)
        for (shard, beats), connection in ours.items():
            answer, = answers[connection]
            self.assertEqual((answer.node, answer.refused, answer.from_shard, answer.to_shard), (node.id, "", shard, shard))
            self.assertEqual(rest[connection], b"")
            connection.close()
        listener.close()


del Known
if __name__ == "__main__":
    main()
