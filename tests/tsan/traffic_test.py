"""Nodes of two shards with real traffic, under ThreadSanitizer: what it finds ends a node with a status that is not 0."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
from fixture import Client, ClusterCase, main  # noqa: E402
import client  # noqa: E402
from client import cluster_info, create_table, delete, drop_table, get, list_tables, node_status, pb, put, scan  # noqa: E402

ROUNDS = 25


class Traffic(ClusterCase):
    """Every kind of request, on every shard of every node at once, while connections come and go."""

    NODES, SHARDS = 3, 2

    def drive(self, node, shard, failures):
        try:
            for round_ in range(ROUNDS):
                with Client(node.address, shard=shard, seconds=60) as connection:
                    keys = [b"%d/%d/%d" % (shard, round_, number) for number in range(30)] + [b"shared/%d" % round_]
                    requests = [[put("last", key, key * 20) for key in keys], [get("last", key) for key in keys],
                                [put("users", keys[-1], b"%d" % shard), get("users", keys[-1]), delete("users", keys[0])],
                                [scan("last", limit=50), node_status(), cluster_info(), list_tables()],
                                [put("last", keys[0], b"x", precondition=pb.IF_ABSENT)]]
                    sent = [connection.send(operations, 30000) for operations in requests]
                    if round_ % 5 == 4:
                        continue  # hangs up on its answers
                    for request in sent:
                        for answer in connection.receive(request):
                            if answer.status not in (pb.OK, pb.NOT_FOUND, pb.CONFLICT, pb.TOO_MANY_SIBLINGS):
                                failures.append(client.status_name(answer.status))
        except OSError as error:
            failures.append(repr(error))

    def traffic(self):
        failures = []
        threads = [threading.Thread(target=self.drive, args=(node, shard + 1, failures))
                   for node in self.nodes for shard in range(self.SHARDS)]
        for thread in threads:
            thread.start()
        with Client(self.nodes[0].address, seconds=60) as connection:
            for number in range(5):
                self.ok(connection.one(create_table(f"t{number}"), 30000))
                self.ok(connection.one(drop_table(f"t{number}"), 30000))
        for thread in threads:
            thread.join()
        return failures

    def test_traffic_and_a_death(self):
        self.assertEqual(self.traffic(), [])
        self.nodes[2].kill()
        self.wait_unreachable([self.nodes[2]])
        with Client(self.nodes[0].address, seconds=60) as connection:
            for answer in connection.call(*(get("last", b"shared/%d" % round_) for round_ in range(ROUNDS)), deadline_ms=30000):
                self.ok(answer)
        self.nodes[2].start()
        self.nodes[2].wait_ready()
        self.cluster.wait_linked()
        self.assertEqual(self.traffic(), [])

    def test_stop_under_load(self):
        node, failures = self.nodes[-1], []
        drivers = [threading.Thread(target=self.drive, args=(node, shard + 1, failures)) for shard in range(2)]
        for driver in drivers:
            driver.start()
        self.assertEqual(node.stop(30), 0, node.tail(60))
        for driver in drivers:
            driver.join()


class Alone(Traffic):
    """A node of two shards by itself: all traffic between its shards is by mailbox."""

    NODES = 1
    TABLES = "tables:\n  - { name: users, n: 1 }\n  - { name: last, rule: lww, n: 1 }\n"

    def test_traffic_and_a_death(self):
        self.assertEqual(self.traffic(), [])


if __name__ == "__main__":
    main()
