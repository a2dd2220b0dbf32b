"""The command line against real nodes: what it prints for people and programs, exact bytes, and its exit statuses."""
import json
import os
import signal
import socket
import time
import unittest

from fixture import ClusterCase, dynode, eventually, main

OK, NOT_FOUND, USAGE, UNAVAILABLE, CONFLICT = range(5)


class Cli(ClusterCase):
    NODES = 3

    def run_(self, *arguments, expect=OK, stdin=b"", address=None, seconds=30):
        status, out, error = dynode(*arguments, stdin=stdin, seconds=seconds, DYNODE_ADDRESS=address or self.nodes[0].address)
        self.assertEqual(status, expect, f"{arguments}: {out} {error}")
        if expect in (USAGE, UNAVAILABLE):
            self.assertTrue(error.strip() or out.strip(), "it says why")
        return out

    def json(self, *arguments, **more):
        return json.loads(self.run_(*arguments, "--json", **more))

    def test_put_get_delete(self):
        self.run_("put", "users", "ada", "Ada Lovelace")
        self.assertIn(b"Ada Lovelace", self.run_("get", "users", "ada"))
        self.assertEqual(self.run_("get", "users", "ada", "--raw"), b"Ada Lovelace")
        self.run_("put", "users", "ada", "A. L.")  # reads the context first: supersedes
        self.assertEqual(self.run_("get", "users", "ada", "--raw"), b"A. L.")
        self.run_("delete", "users", "ada")
        self.run_("get", "users", "ada", expect=NOT_FOUND)
        self.run_("delete", "users", "ada")
        self.assertEqual(self.json("get", "users", "ada", expect=NOT_FOUND)["status"], "NOT_FOUND")

    def test_values_from_everywhere_and_exact_bytes(self):
        value = os.urandom(70000) + b"\0\n"
        path = os.path.join(self.folder, "value")
        with open(path, "wb") as file:
            file.write(value)
        self.run_("put", "users", "file", "--file", path)
        self.run_("put", "users", "stdin", stdin=value)
        self.run_("put", "users", "dash", "-", stdin=value)
        for key in ("file", "stdin", "dash"):
            self.assertEqual(self.run_("get", "users", key, "--raw"), value)
        self.run_("put", "users", "empty", "")
        self.assertEqual(self.run_("get", "users", "empty", "--raw"), b"")
        self.run_("put", "users", "00ff0a", "binary", "--hex-key")
        self.assertEqual(self.run_("get", "users", "00ff0a", "--hex-key", "--raw"), b"binary")
        self.run_("put", "users", "huge", expect=USAGE, stdin=bytes((1 << 20) + 1))
        self.run_("put", "users", "full", stdin=bytes(1 << 20))
        self.assertEqual(self.run_("get", "users", "full", "--raw"), bytes(1 << 20))
        self.run_("put", "users", "nofile", "--file", path + ".none", expect=USAGE)

    def test_siblings(self):
        self.run_("put", "users", "two", "one", "--blind")
        self.run_("put", "users", "two", "other", "--blind")
        read = self.json("get", "users", "two")
        self.assertEqual(sorted(sibling["value"] for sibling in read["siblings"]), ["one", "other"])
        self.run_("get", "users", "two", "--raw", expect=CONFLICT)
        self.run_("put", "users", "two", "merged", "--context", read["context"])
        self.assertEqual(self.run_("get", "users", "two", "--raw"), b"merged")
        # The context of before names what is gone: written with it, both stand.
        self.run_("put", "users", "two", "late", "--context", read["context"])
        self.assertEqual(len(self.json("get", "users", "two")["siblings"]), 2)
        self.run_("put", "users", "two", "forged", "--context", "00" * 40, expect=USAGE)
        self.run_("put", "users", "two", "x", "--context", "zz", expect=USAGE)

    def test_conditions(self):
        self.run_("put", "users", "lock", "me", "--if-absent")
        taken = self.json("put", "users", "lock", "you", "--if-absent", expect=CONFLICT)
        self.assertEqual([sibling["value"] for sibling in taken["siblings"]], ["me"])
        context = self.json("get", "users", "lock")["context"]
        self.run_("put", "users", "lock", "still me", "--if-context", context)
        self.run_("put", "users", "lock", "you", "--if-context", context, expect=CONFLICT)
        self.run_("delete", "users", "lock", "--if-context", context, expect=CONFLICT)
        self.assertEqual(self.run_("get", "users", "lock", "--raw"), b"still me")
        self.run_("delete", "users", "lock", "--if-context", self.json("get", "users", "lock")["context"])
        self.run_("put", "users", "lock", "you", "--if-absent")

    def test_time_to_live(self):
        self.run_("put", "users", "brief", "x", "--ttl", "1s")
        time.sleep(1.3)
        self.run_("get", "users", "brief", expect=NOT_FOUND)

    def test_usage(self):
        for arguments in ((), ("nonsense",), ("get",), ("get", "users"), ("get", "users", "a", "b"), ("put", "users"),
                          ("get", "users", "a", "--r", "0"), ("get", "users", "a", "--r", "99"),
                          ("get", "users", "a", "--level", "most"), ("get", "users", "a", "--nonsense"),
                          ("get", "users", "a", "--raw", "--json"), ("put", "users", "a", "b", "--ttl", "soon"),
                          ("table",), ("table", "create"), ("table", "create", "a b"), ("get", "nowhere", "a"),
                          ("get", "users", ""), ("get", "users", "k" * 1025), ("get", "-a", "tcp://nowhere", "users", "a"),
                          ("get", "-a", "http://127.0.0.1:1", "users", "a")):
            with self.subTest(arguments):
                self.run_(*arguments, expect=USAGE)
        for command in ("put", "get", "delete", "scan", "table", "status", "ring", "bench", "serve"):
            self.assertIn(b"usage", self.run_(command, "--help").lower())
        self.assertIn(b"dynode", self.run_("--version"))

    def test_unavailable_and_failover(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.run_("put", "users", "fail", "over")
        self.run_("get", "users", "fail", address=nobody, expect=UNAVAILABLE)
        self.assertEqual(self.run_("get", "users", "fail", "--raw", address=f"{nobody},{self.nodes[1].address}"), b"over")
        for node in self.nodes[1:]:
            node.kill()
        self.wait_unreachable(self.nodes[1:])
        self.run_("get", "users", "fail", expect=UNAVAILABLE)
        refused = self.json("put", "users", "fail", "x", "--blind", expect=UNAVAILABLE)
        self.assertEqual((refused["status"], refused["needed"]), ("UNAVAILABLE", 2))
        self.assertEqual(self.run_("get", "users", "fail", "--raw", "--level", "one"), b"over")
        self.run_("status", expect=UNAVAILABLE)
        report = self.json("bench", "--no-load", "--any-node", "--table", "last", "--operations", "50", "put", expect=UNAVAILABLE)
        self.assertEqual([(phase["operations"], phase["errors"], phase["stalled"]) for phase in report["phases"]], [(0, 50, False)])

    def test_a_deadline_is_kept(self):
        for node in self.nodes[1:]:
            node.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            self.run_("get", "users", "whatever", "--deadline", "500ms", expect=UNAVAILABLE)
            self.assertLess(time.monotonic() - began, 5)
        finally:
            for node in self.nodes[1:]:
                node.signal(signal.SIGCONT)

    def test_tables(self):
        self.run_("table", "create", "pages", "--rule", "lww", "--n", "3", "--r", "1", "--w", "2")
        self.run_("table", "create", "pages", expect=CONFLICT)
        self.assertIn(b"pages", self.run_("table", "list"))
        tables = {table["name"]: table for table in self.json("table", "list")["tables"]}
        self.assertEqual([tables["pages"][field] for field in ("rule", "n", "r", "w")], ["lww", 3, 1, 2])
        self.run_("table", "alter", "pages", "--r", "2")
        tables = {table["name"]: table for table in self.json("table", "list", address=self.nodes[2].address)["tables"]}
        self.assertEqual(tables["pages"]["r"], 2)
        self.run_("put", "pages", "home", "x", address=self.nodes[1].address)
        self.run_("table", "drop", "pages", address=self.nodes[2].address)
        self.run_("get", "pages", "home", expect=USAGE)

    def test_bench(self):
        pids = [word for node in self.nodes for word in ("--server-pid", str(node.process.pid))]
        report = self.json("bench", "--records", "500", "--duration", "1s", "--connections", "6", "--in-flight", "4", "--check",
                           *pids, "put", "get", "a", "siblings", seconds=60)
        phases = {phase["phase"]: phase for phase in report["phases"]}
        self.assertEqual(set(phases), {"load", "put", "get", "a", "siblings"})
        for phase in phases.values():
            self.assertGreater(phase["operations"], 0)
            self.assertEqual((phase["errors"], phase["wrong"]), (0, 0))
        self.assertGreater(sum(phase["server_cpu_us_per_operation"] for phase in report["phases"]), 0)

    def test_scan_status_ring(self):
        self.run_("table", "create", "scanned", "--rule", "lww")
        keys = sorted(f"key {number}" for number in range(50))
        for key in keys[:20]:
            self.run_("put", "scanned", key, "v", "--blind", "--level", "all")
        lines = self.run_("scan", "scanned").decode().splitlines()
        self.assertEqual(sorted(lines), keys[:20])
        self.assertEqual(self.json("scan", "scanned", "--count")["count"], 20)
        self.assertEqual(self.json("scan", "scanned", "--count", "--copies")["count"], 60)
        status, _, error = dynode("scan", "nosuch", DYNODE_ADDRESS=self.nodes[0].address)
        self.assertEqual((status, "missing" in str(error)), (USAGE, False), "no node is missing, the table is")
        self.assertIn(b"node3", self.run_("status", "--interval", "0s"))
        status = self.json("status", "--interval", "0s")
        self.assertEqual(len(status["members"]), 3)
        self.assertTrue(all(member["answered"] for member in status["members"]))
        self.assertEqual(status["hash"], "xxh3-64")
        busy = self.json("status", "--interval", "100ms")
        for member in busy["members"]:
            for shard in member["shard_reports"]:
                self.assertGreater(shard["vnodes"], 0)
                for field in ("inbox_bytes", "outbox_bytes", "gets_per_second", "puts_per_second"):
                    self.assertGreaterEqual(shard[field], 0)
                self.assertGreater(shard["store_bytes"] + shard["store_log_bytes"], 0)
        reports = lambda: [(member, shard) for member in self.json("status", "--interval", "0s")["members"] for shard in member["shard_reports"]]
        eventually(lambda: not any(shard["unproven"] for _, shard in reports()), "all copies are proven equal", 60)
        for member, shard in reports():
            self.assertLessEqual(shard["equal_ms_ago"], member["uptime_ms"])
        self.assertRegex(self.run_("status", "--interval", "0s"), rb"(?m)REAPED +EQUAL\n(node\d .* \d+ s\n){6}")
        homes = self.ring().homes("scanned", b"key 7")
        ring = self.json("ring", "scanned", "key 7")
        self.assertEqual([node["id"] for node in ring["preference_list"] if node["home"]], [f"{home:016x}" for home in homes])
        shards = {int(member["id"], 16): member["shards"] for member in status["members"]}
        for node in ring["preference_list"]:
            self.assertEqual(node["shard"], ring["vnode"] % shards[int(node["id"], 16)])
        self.assertEqual(ring["vnode"], int(ring["hash"], 16) * ring["vnodes"] >> 64)
        self.assertIn(b"vnode", self.run_("ring", "scanned", "key 7"))


if __name__ == "__main__":
    main()
