"""Two nodes of two shards, driven into one another with more than their queues hold: every request is answered, memory stays
bounded, and afterwards all is as before."""
import collections
import threading
import time
import unittest

from fixture import Client, ClusterCase, eventually, main
from client import get, node_status, put, status_name  # fixture says where it is

DEADLINE_MS, VALUE, KEYS, REQUESTS, CONNECTIONS = 8000, b"v" * (512 << 10), 16, 120, 2


class Overload(ClusterCase):
    NODES = 2
    TABLES = "tables:\n  - { name: last, rule: lww, n: 2, r: 2, w: 2 }\n"

    def flood(self, node, shard, seed, counts, problems):
        """Everything is sent before anything is read, as fast as the socket takes it."""
        try:
            with Client(self.nodes[node].address, shard, seconds=40) as connection:
                sent, received = [], []

                def receive():
                    try:
                        while len(received) < REQUESTS:
                            if len(sent) > len(received):
                                received.append(connection.receive(sent[len(received)])[0])
                            else:
                                time.sleep(0.001)
                    except Exception as problem:  # pylint: disable=broad-except
                        problems.append(problem)

                reader = threading.Thread(target=receive)
                reader.start()
                for number in range(REQUESTS):
                    key = b"key %d" % ((number * 7 + seed) % KEYS)
                    operation = put("last", key, VALUE) if number % 3 else get("last", key)
                    sent.append(connection.send([operation], DEADLINE_MS))
                reader.join()
                counts.update(status_name(result.status) for result in received)
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)

    def test_full_queues_in_a_circle(self):
        counts, problems = collections.Counter(), []
        floods = [threading.Thread(target=self.flood, args=(node, shard, number, counts, problems))
                  for number in range(CONNECTIONS) for node in range(2) for shard in range(2)]
        begun = time.monotonic()
        for flood in floods:
            flood.start()
        for flood in floods:
            flood.join()
        print(f"{dict(counts)} in {time.monotonic() - begun:.1f} s", flush=True)
        self.assertEqual(problems, [])
        self.assertEqual(sum(counts.values()), REQUESTS * len(floods))
        self.assertLessEqual(set(counts), {"OK", "NOT_FOUND", "OVERLOADED", "TIMEOUT", "UNAVAILABLE"})
        self.assertGreater(counts["OK"], REQUESTS // 10)
        for node in range(2):
            self.assertLess(self.memory(self.nodes[node], "VmHWM"), 3 << 30)

        def idle():
            with Client(self.nodes[0].address) as connection:
                shards = self.ok(connection.one(node_status())).node.shards
                return all(s.owed == 0 and s.lingering == 0 and s.coordinating == 0 and s.outbox_bytes < 4096 for s in shards)

        eventually(idle, "what was under way has ended", 30)
        for node in range(2):
            for number in range(10):
                self.ok(self.connect(node).one(put("last", b"after %d" % number, b"small")))


if __name__ == "__main__":
    main()
