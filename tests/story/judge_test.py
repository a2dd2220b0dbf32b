"""dynode-judge: a good history is good, each fault that is put into it is found by the checker that is there for it, and a
file that says nonsense is refused with the line that does."""
import os
import subprocess
import sys
import tempfile
import unittest

JUDGE = sys.argv.pop(1)
TABLE = "table siblings 3 2 2 1 0"
MS = 1_000_000


class History:
    """Key 0 is a register, key 1 a cart, key 2 a counter. Times are in milliseconds."""

    def __init__(self, table=TABLE):
        self.lines, self.count = ["dynode-history 1", table, "key 1 cart", "key 2 counter"], 0

    def op(self, kind, at, key=0, outcome="ok", status=0, flags="-", session=0, ttl=0, covers=(), elements=(), seen=()):
        """@at: (from, to). Returns its token."""
        self.count += 1
        begun, ended = (moment * MS for moment in at)
        lists = " ".join(",".join(map(str, numbers)) or "-" for numbers in (covers, elements, seen))
        self.lines.append(f"op {self.count} {kind} {outcome} {status} {flags} {session} 0 {key} {begun} {ended} {ended + MS} "
                          f"{ttl * MS} {lists}")
        return self.count

    def put(self, at, **more):
        return self.op("put", at, **more)

    def get(self, at, **more):
        return self.op("get", at, **more)

    def final(self, *seen, key=0, node=0):
        self.lines.append(f"final {key} {node} 1 {','.join(map(str, seen)) or '-'}")

    def text(self):
        return "\n".join([*self.lines, f"end {self.count}", ""])


def judge(text):
    with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([JUDGE, file.name], capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, ASAN_OPTIONS="exitcode=99"))
    return done.returncode, done.stdout, done.stderr


class Judge(unittest.TestCase):
    def good(self, history):
        status, out, err = judge(history.text())
        self.assertEqual((status, err), (0, ""), out)
        self.assertNotIn("FAULT", out)
        return out

    def faulty(self, history, checker, why):
        status, out, err = judge(history.text())
        self.assertEqual((status, err), (1, ""), out)
        self.assertRegex(out, f"FAULT {checker}: .*{why}")

    def refused(self, text, why):
        status, out, err = judge(text)
        self.assertEqual((status, out), (2, ""), err)
        self.assertRegex(err, why)

    def test_a_good_history(self):
        history = History()
        first = history.put((0, 10))
        history.get((11, 12), seen=[first])
        second = history.put((13, 20), covers=[first])
        lost = history.put((14, 900), outcome="info", status=4, flags="l", session=1)
        history.get((21, 22), seen=[second, lost])
        added = history.put((30, 31), key=1)
        more = history.put((32, 33), key=1, covers=[added], elements=[added])
        history.put((40, 41), key=2, flags="a", session=3, elements=[3 << 20 | 1])
        history.final(second, lost)
        history.final(more, key=1)
        history.final(history.count, key=2)
        out = self.good(history)
        for checker in ("values", "answers", "siblings", "stamps", "final", "register", "session", "merge", "condition"):
            self.assertIn(f"good {checker}\n", out)

    def test_the_order_of_lines_does_not_matter(self):
        history = History()
        first = history.put((0, 10))
        history.put((13, 20), covers=[first])
        history.final(2)
        history.lines[-3:] = reversed(history.lines[-3:])
        self.good(history)

    def test_a_lost_write(self):
        history = History()
        history.put((0, 10))
        history.final()
        self.faulty(history, "final", "lacks write 1 of key 0")

    def test_a_lost_write_is_excused_by_a_delete(self):
        history = History()
        first = history.put((0, 10))
        history.op("delete", (20, 30), outcome="info", status=4, covers=[first])
        history.final()
        self.good(history)

    def test_a_resurrection(self):
        history = History()
        first = history.put((0, 10))
        history.op("delete", (20, 30), covers=[first])
        history.get((40, 50), seen=[first])
        self.faulty(history, "register", "has write 1, though 2, .* covers it")

    def test_a_wrong_answer(self):
        history = History()
        history.put((0, 10), outcome="fail", status=3)
        history.get((20, 30), seen=[1])
        self.faulty(history, "siblings", "was said not to be applied")
        history = History()
        history.get((20, 30), seen=[7])
        self.faulty(history, "siblings", "nobody wrote")

    def test_a_stale_read(self):
        history = History()
        first = history.put((0, 10))
        history.put((20, 30), covers=[first])
        history.get((40, 50), seen=[first])
        history.final(2)
        self.faulty(history, "register", "misses write 2")
        history.lines[1] = TABLE.replace("2 2 1", "2 2 0")  # quorums that need not overlap may answer so
        self.good(history)

    def test_weak_operations_may_miss_and_be_missed_until_the_end(self):
        history = History()
        history.put((0, 10), flags="w")
        history.get((40, 50))
        history.get((60, 70), flags="w")
        history.final(1)
        self.good(history)
        history.lines[-1] = "final 0 0 1 -"
        self.faulty(history, "final", "lacks write 1")

    def test_what_a_cart_and_a_counter_lose(self):
        history = History()
        history.put((0, 10), key=1)
        history.put((5, 15), key=1)
        history.get((20, 30), key=1, seen=[1])
        self.faulty(history, "merge", "cart 1 lacks element 2")
        history = History()
        history.put((0, 10), key=2, flags="a", session=3, elements=[3 << 20 | 1])
        history.put((20, 30), key=2, flags="c", session=4, covers=[1], elements=[4 << 20 | 1])
        history.final(2, key=2)
        self.faulty(history, "merge", "session 3 has counted to 0; it was told 1")

    def test_a_condition_that_did_not_know(self):
        history = History()
        history.put((0, 10))
        history.put((20, 30), flags="a")
        self.faulty(history, "condition", "does not know write 1")

    def test_damage_two_times_of_writing_and_defects(self):
        history = History()
        history.get((0, 10))
        history.lines.append("damage 1 another key's")
        self.faulty(history, "values", "operation 1: a value is another key's")
        history = History()
        history.put((0, 10))
        history.lines += ["written 1 5", "written 1 6"]
        self.faulty(history, "values", "at two times")
        history = History()
        history.get((0, 10), outcome="info", status=64)
        self.faulty(history, "answers", "INTERNAL")

    def test_copies_that_differ(self):
        history = History()
        history.lines += ["copy 0 0 1 77", "copy 0 1 1 77", "copy 0 2 1 77", "copy 0 3 0 0"]
        self.good(history)
        history.lines[-3] = "copy 0 1 1 78"
        self.faulty(history, "copies", "")

    def test_the_latest_wins(self):
        history = History(TABLE.replace("siblings", "lww"))
        history.put((0, 10))
        history.put((20, 30))
        history.final(2)
        self.good(history)
        history.get((40, 50), seen=[1])
        self.faulty(history, "register", "")
        history.lines[-2] = "final 0 0 1 1"
        self.faulty(history, "final", "")

    def test_a_condition_in_an_lww_table(self):
        history = History(TABLE.replace("siblings", "lww"))
        history.put((0, 10))
        history.put((20, 30), flags="a")
        self.faulty(history, "condition", "the condition of write 2")

    def test_nonsense(self):
        history = History()
        history.put((0, 10))
        history.put((20, 30), covers=[1])
        text = history.text()
        self.good(history)
        put = history.lines[-1]
        for change, why in (
                ((put, put + " 1"), "line 6: 17 fields"),
                ((put, put[:-4]), "line 6: 14 fields"),
                ((" put ", " pat "), "line 5: field 3 is `pat`"),
                ((" 1 - -\n", " 2 - -\n"), "line 6: field 14 has `2`, not a number from 1 to 1"),
                ((" 1 - -\n", " 0 - -\n"), "line 6: field 14 has `0`"),
                (("op 2 put ok 0 -", "op 2 put ok 0 z"), "line 6: there is no flag `z`"),
                (("op 2", "op 3"), "line 6: operation 3 comes where 2 is next"),
                (("op 2", "op 1"), "not a number from 1 to 0"),
                (("end 2", "end 3"), "2 operations, not the 3"),
                (("end 2\n", "end 2"), "cut short"),
                (("end 2\n", ""), "ends without saying so"),
                (("end 2\n", "end 2\nend 2\n"), "something follows the end"),
                ((TABLE + "\n", ""), "nothing was said about the table"),
                (("3 2 2 1 0", "3 4 2 1 0"), "line 2: field 4 is `4`, not a number up to 3"),
                (("dynode-history 1", "dynode-history 2"), "line 1: this is not a dynode-history"),
                (("key 1", "kex 1"), "line 3: there is no such line as `kex`"),
                (("key 1 cart", "key 0 cart\nkey 1 cart\nfinal 0 0"), "line 5: 3 fields"),
                (("30000000 31000000", "3 31000000"), "ended before it began")):
            self.assertNotEqual(text.replace(*change), text, change)
            self.refused(text.replace(*change), why)
        for size in range(len(text)):
            self.assertEqual(judge(text[:size])[0], 2, f"cut after {size} bytes")

    def test_arguments(self):
        self.assertEqual(subprocess.run([JUDGE, "--help"], capture_output=True, timeout=60).returncode, 0)
        self.assertEqual(subprocess.run([JUDGE], capture_output=True, timeout=60).returncode, 2)
        self.assertEqual(subprocess.run([JUDGE, "/nowhere"], capture_output=True, timeout=60).returncode, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
