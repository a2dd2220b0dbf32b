"""Gossip between real nodes: a node that knows one other learns all there is, and a stranger is refused, in words on both sides."""
import re
import unittest

from fixture import ClusterCase, eventually, hosts, main
from client import cluster_info, create_table, get, list_tables, put  # fixture says where it is


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
                self.says(guest, rf"link from shard \d to {host.name} at {host.peer_address}: refused: {what}")
        # Nothing of theirs is known here, and nothing of ours there, while the two that belong together do.
        self.ok(self.connect(0).one(create_table("ours", n=2)))
        self.ok(self.connect(2).one(create_table("theirs", n=1)))
        self.ok(self.connect(3).one(create_table("others", n=1)))
        eventually(lambda: "ours" in self.tables(two), "who belongs here is told")
        for node, table in ((one, "ours"), (two, "ours"), (other_cluster, "theirs"), (other_vnodes, "others")):
            self.assertEqual(self.tables(node), {"users", "last", table})


del Known
if __name__ == "__main__":
    main()
