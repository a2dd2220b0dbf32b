"""Quorums that hold: any node takes any request, one dead node of five is not noticed, two take exactly what they must."""
import signal
import time
import unittest

from fixture import Client, ClusterCase, eventually, main
from client import cluster_info, create_table, delete, drop_table, get, list_tables, node_status, pb, put, scan, status_name  # fixture says where it is

DEADLINE_MS = 3000


class Quorum(ClusterCase):
    def test_any_node_takes_any_request(self):
        ring = self.ring()
        for table in ("users", "last"):
            for number in range(40):
                key = b"any/%d" % number
                writer, reader = self.random.sample(range(5), 2)
                written = self.ok(self.connect(writer).one(put(table, key, b"value %d" % number, quorum=pb.STRICT)))
                homes = set(ring.homes(table, key))
                self.assertGreaterEqual(len(set(written.replicas)), 2, "W distinct nodes have it")
                self.assertLessEqual(set(written.replicas), homes, "the receipt names homes of the key")
                read = self.ok(self.connect(reader).one(get(table, key, quorum=pb.STRICT)))
                self.assertEqual(self.values(read), [b"value %d" % number])
                self.assertLessEqual(set(read.replicas), homes)
        for connection in (self.connect(node) for node in range(5)):
            self.ok(connection.one(get("users", b"any/never")), "NOT_FOUND")
            self.ok(connection.one(get("nowhere", b"x")), "NO_SUCH_TABLE")

    def test_every_key_is_on_its_n_homes_and_nowhere_else(self):
        records = {b"home/%d" % number: b"" for number in range(100)}
        self.load(self.connect(), "users", records, level=pb.ALL)
        ring = self.ring()
        for node in self.nodes:
            expected = {key for key in records if node.id in ring.homes("users", key)}
            self.assertEqual(self.held(node, "users", b"home/"), expected)

    def held(self, node, table, prefix):
        keys, cursor = set(), b""
        with Client(node.address) as connection:
            while True:
                page = self.ok(connection.one(scan(table, cursor=cursor, limit=100))).scan
                keys |= {key for key in page.keys if key.startswith(prefix)}
                cursor = page.cursor
                if not cursor:
                    return keys

    def test_one_dead_of_five(self):
        records = {b"one/%d" % number: b"before %d" % number for number in range(200)}
        self.load(self.connect(), "users", records)
        victim = self.random.randrange(1, 5)
        self.nodes[victim].kill()
        self.wait_unreachable([self.nodes[victim]])
        living = [node for node in range(5) if node != victim]
        for quorum, after in ((pb.SLOPPY, b"after"), (pb.STRICT, b"strictly")):
            contexts = {}
            for key in records:
                answer = self.ok(self.connect(self.random.choice(living)).one(get("users", key, quorum=quorum), DEADLINE_MS))
                self.assertEqual(self.values(answer), [records[key]])
                contexts[key] = answer.context
            for key in records:
                self.ok(self.connect(self.random.choice(living)).one(
                    put("users", key, after, context=contexts[key], quorum=quorum), DEADLINE_MS))
            for key in records:
                answer = self.ok(self.connect(self.random.choice(living)).one(get("users", key, quorum=quorum), DEADLINE_MS))
                self.assertEqual(self.values(answer), [after])
                records[key] = after

    def test_two_dead_take_the_keys_that_lost_their_strict_quorum_and_no_others(self):
        records = {b"two/%d" % number: b"value" for number in range(200)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        ring = self.ring()
        dead = self.random.sample(self.nodes[1:], 2)
        for node in dead:
            node.kill()
        self.wait_unreachable(dead)
        living = {node.id for node in self.nodes if node not in dead}
        lost = {key for key in records if len(living & set(ring.homes("last", key))) < 2}
        self.assertTrue(0 < len(lost) < len(records), "the keys must show both")
        alive = [index for index, node in enumerate(self.nodes) if node not in dead]
        for operation in (lambda key: get("last", key, quorum=pb.STRICT),
                          lambda key: put("last", key, b"again", quorum=pb.STRICT)):
            for index in alive:
                connection = self.connect(index)
                began = time.monotonic()
                answers = connection.call(*map(operation, records), deadline_ms=DEADLINE_MS)
                self.assertLess(time.monotonic() - began, DEADLINE_MS / 1000 + 2, "never a hang")
                refused = {key for key, answer in zip(records, answers) if answer.status != pb.OK}
                self.assertEqual(refused, lost)
                for key, answer in zip(records, answers):
                    if key in lost:
                        self.ok(answer, "UNAVAILABLE")
                        self.assertEqual(answer.needed, 2)
                        self.assertLess(answer.got, 2)
        # R=1 is what one home is enough for.
        reachable = {key for key in lost if living & set(ring.homes("last", key))}
        for answer in self.connect(alive[0]).call(*(get("last", key, r=1) for key in reachable), deadline_ms=DEADLINE_MS):
            self.ok(answer)

    def test_restart_with_data_intact(self):
        records = {b"restart/%d" % number: b"value %d" % number for number in range(300)}
        self.load(self.connect(), "users", records, level=pb.ALL)
        ring = self.ring()
        for node in self.nodes:
            mine = {key for key in records if ring.homes("users", key)[0] == node.id}
            self.assertTrue(mine)
            for end in (node.kill, node.stop):
                end()
                node.start()
                node.wait_ready()
                self.cluster.wait_linked()
                with Client(node.address) as connection:
                    # n=1: the first home answers alone, so that no other replica can cover for it.
                    for key, answer in zip(mine, connection.call(*(get("users", key, n=1, r=1) for key in mine))):
                        self.assertEqual(self.values(self.ok(answer)), [records[key]])

    def test_what_a_node_missed_comes_home(self):
        records = {b"stale/%d" % number: b"old" for number in range(60)}
        self.load(self.connect(), "last", records, level=pb.ALL)
        ring = self.ring()
        victim = self.nodes[3]
        victim.kill()
        self.wait_unreachable([victim])
        missed = {b"stale/new/%d" % number: b"made meanwhile" for number in range(60)}
        self.load(self.connect(), "last", missed)
        self.load(self.connect(), "last", dict.fromkeys(records, b"new"))
        victim.start()
        victim.wait_ready()
        self.cluster.wait_linked()
        expected = missed | dict.fromkeys(records, b"new")
        first = {key for key in expected if ring.homes("last", key)[0] == victim.id}
        with Client(victim.address) as connection:
            def whole():
                alone = connection.call(*(get("last", key, n=1, r=1) for key in first))
                return all(self.values(answer) == [expected[key]] for key, answer in zip(first, alone))

            eventually(whole, "the node that was away holds what it missed, and nobody had to read it")
        mine = {key for key in missed if victim.id in ring.homes("last", key)}
        eventually(lambda: mine <= self.held(victim, "last", b"stale/new/"), "all of it")

    def test_three_of_five_dead_and_writes_go_on(self):
        """Sloppy writes at W=2; the two that live keep hints, which survive their restart, and go home."""
        ring = self.ring()
        dead = self.random.sample(self.nodes[1:], 3)
        for node in dead:
            node.kill()
        self.wait_unreachable(dead)
        alive = [node for node in self.nodes if node not in dead]
        records = {b"three/%d" % number: b"kept %d" % number for number in range(150)}
        stood = 0
        for node in alive:
            with Client(node.address) as connection:
                for key, answer in zip(records, connection.call(*(put("last", key, value) for key, value in records.items()))):
                    self.ok(answer)
                    self.assertGreaterEqual(len(set(answer.replicas)), 2, "W distinct nodes have it")
                    self.assertEqual(set(answer.stand_ins), set(answer.replicas) - set(ring.homes("last", key)))
                    stood += len(answer.stand_ins) > 0
                for key, answer in zip(records, connection.call(*(get("last", key) for key in records))):
                    self.assertEqual(self.values(self.ok(answer)), [records[key]])
        self.assertTrue(stood, "somebody stood in")
        self.assertTrue(self.hints(alive))
        for node in alive:  # what a SIGKILL leaves is there again
            node.kill()
            node.start()
            node.wait_ready()
        self.assertTrue(self.hints(alive))
        for node in dead:
            node.start()
            node.wait_ready()
        self.cluster.wait_linked()
        eventually(lambda: not self.hints(self.nodes), "all hints have gone home", 30)
        for node in self.nodes:
            # Where two homes lived nobody was left to stand in for the third.
            mine = {key for key in records if ring.homes("last", key)[0] == node.id
                    and len({one.id for one in alive} & set(ring.homes("last", key))) < 2}
            with Client(node.address) as connection:
                for key, answer in zip(mine, connection.call(*(get("last", key, n=1, r=1) for key in mine))):
                    self.assertEqual(self.values(self.ok(answer)), [records[key]])

    def hints(self, nodes):
        count = 0
        for node in nodes:
            with Client(node.address) as connection:
                report = self.ok(connection.one(node_status())).node
                count += sum(hint.count for shard in report.shards for hint in shard.hints)
        return count

    def test_a_stopped_node_is_only_slow_until_it_is_noticed(self):
        records = {b"stop/%d" % number: b"value" for number in range(60)}
        self.load(self.connect(), "last", records)
        victim = self.nodes[2]
        victim.signal(signal.SIGSTOP)
        try:
            connection = self.connect(seconds=20)
            began = time.monotonic()
            answers = connection.call(*(put("last", key, b"first") for key in records), deadline_ms=DEADLINE_MS)
            self.assertLess(time.monotonic() - began, DEADLINE_MS / 1000 + 2)
            # A put may have gone to it, if something came from it just before. Then the other homes are asked, and unless one
            # of them holds it the outcome is unknown. What is said to be written is there, and what is said not to be is not.
            self.wait_unreachable([victim])
            possible = {pb.APPLIED_NOTHING_TO_SAY: (b"first",), pb.NO: (b"value",), pb.MAYBE: (b"first", b"value")}
            reads = connection.call(*(get("last", key) for key in records), deadline_ms=DEADLINE_MS)
            for answer, read in zip(answers, reads):
                self.assertIn(status_name(answer.status), ("OK", "TIMEOUT", "UNAVAILABLE"))
                self.assertEqual(answer.applied == pb.APPLIED_NOTHING_TO_SAY, answer.status == pb.OK)
                self.assertIn(*self.values(self.ok(read)), possible[answer.applied])
            for operation in (lambda key: put("last", key, b"more"), lambda key: get("last", key)):
                for answer in connection.call(*map(operation, records), deadline_ms=DEADLINE_MS):
                    self.ok(answer)
        finally:
            victim.signal(signal.SIGCONT)
        self.cluster.wait_linked()
        for answer in self.connect(2).call(*(get("last", key) for key in records)):
            self.assertEqual(self.values(self.ok(answer)), [b"more"])

    def test_a_table_made_on_one_node_is_used_at_once_on_another(self):
        for number in range(3):
            name = f"made{number}"
            maker, user = self.random.sample(range(5), 2)
            self.ok(self.connect(maker).one(create_table(name, n=3)))
            self.ok(self.connect(user).one(put(name, b"key", b"value")))
            self.ok(self.connect(maker).one(create_table(name, n=3)), "TABLE_EXISTS")
            tables = {table.name: table for table in self.ok(self.connect(user).one(list_tables())).tables.tables}
            self.assertEqual((tables[name].n, tables[name].r, tables[name].w), (3, 2, 2))
            self.ok(self.connect(user).one(drop_table(name)))
            self.ok(self.connect(maker).one(get(name, b"key")), "NO_SUCH_TABLE")
            self.ok(self.connect(maker).one(create_table(name, n=3)))
            self.ok(self.connect(user).one(get(name, b"key")), "NOT_FOUND")

    def test_a_dead_node_learns_of_tables_when_it_is_back(self):
        self.ok(self.connect().one(create_table("altered", n=3)))
        self.nodes[4].kill()
        self.wait_unreachable([self.nodes[4]])
        self.ok(self.connect().one(pb.Operation(alter_table=pb.AlterTable(name="altered", w=3, ttl_ms=3_600_000))))
        self.ok(self.connect().one(create_table("while_away", "lww")))
        self.ok(self.connect().one(put("while_away", b"key", b"value")))
        self.nodes[4].start()
        self.nodes[4].wait_ready()
        self.cluster.wait_linked()
        eventually(lambda: self.connect(4).one(get("while_away", b"key")).status == pb.OK, "it knows the table")
        tables = {table.name: table for table in self.ok(self.connect(4).one(list_tables())).tables.tables}
        self.assertEqual((tables["altered"].r, tables["altered"].w, tables["altered"].ttl_ms), (2, 3, 3_600_000))

    def test_siblings_contexts_and_preconditions_across_nodes(self):
        key = b"siblings"
        for node, value in ((0, b"a"), (1, b"b")):
            self.ok(self.connect(node).one(put("users", key, value)))
        read = self.ok(self.connect(2).one(get("users", key)))
        self.assertEqual(self.values(read), [b"a", b"b"])
        blind = self.ok(self.connect(1).one(get("users", key, context_only=True)))
        self.assertEqual(self.values(blind), [])
        self.ok(self.connect(3).one(put("users", key, b"merged", context=blind.context)))
        read = self.ok(self.connect(4).one(get("users", key)))
        self.assertEqual(self.values(read), [b"merged"])
        self.ok(self.connect(1).one(put("users", key, b"x", precondition=pb.IF_ABSENT)), "CONFLICT")
        self.ok(self.connect(2).one(put("users", key, b"next", context=read.context, precondition=pb.IF_CONTEXT)))
        late = self.ok(self.connect(3).one(put("users", key, b"late", context=read.context, precondition=pb.IF_CONTEXT)),
                       "CONFLICT")
        self.assertEqual(self.values(late), [b"next"])
        self.ok(self.connect(0).one(delete("users", key)))
        self.ok(self.connect(1).one(get("users", key)), "NOT_FOUND")
        self.ok(self.connect(2).one(put("users", key, b"anew", precondition=pb.IF_ABSENT)))

    def test_time_to_live(self):
        self.ok(self.connect(0).one(put("users", b"brief", b"x", ttl_ms=1500)))
        self.ok(self.connect(1).one(get("users", b"brief")))
        eventually(lambda: all(self.connect(node).one(get("users", b"brief")).status == pb.NOT_FOUND for node in range(5)),
                   "it expires everywhere")


class MixedShards(ClusterCase):
    """Nodes of 1, 2 and 3 shards: a vnode lives on another shard of each."""

    NODES, SHARDS = 3, [1, 2, 3]

    def test_all_keys_through_all_shards(self):
        records = {b"mixed/%d" % number: b"value %d" % number for number in range(200)}
        for node in range(3):
            for shard in range(1, self.SHARDS[node] + 1):
                connection = self.connect(node, shard=shard)
                self.assertEqual((connection.welcome.shard, connection.welcome.shards), (shard, self.SHARDS[node]))
                self.load(connection, "last", records, level=pb.ALL)
                for key, answer in zip(records, connection.call(*(get("last", key, level=pb.ALL) for key in records))):
                    self.assertEqual(self.values(self.ok(answer)), [records[key]])
        shards = {member.id: member.shards for member in self.connect().one(cluster_info()).cluster.members}
        self.assertEqual([shards[node.id] for node in self.nodes], self.SHARDS)


if __name__ == "__main__":
    main()
