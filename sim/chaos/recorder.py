"""What clients asked and heard, one file for each table, in the format of sim/world/history_file.h, which dynode-judge reads.

Every write has a token, its number in the history, and its value says so, and of which key and table it is, with a checksum: so
an answer tells which writes it saw, and a value that was damaged or strayed is noticed.
"""
import os
import struct
import subprocess
import time
import zlib

PLAIN, CART, COUNTER = "plain", "cart", "counter"
COUNTER_BITS = 20  # as in sim/world/checker.h
_HEAD = struct.Struct(">IIII")  # token, key, elements, checksum of all the rest


def now_ns():
    return time.monotonic_ns()


class Damage(Exception):
    pass


class Recorder:
    def __init__(self, folder, table, rule, keys, strict, n, r, w):
        """@keys: what each holds. @strict: may reads be expected to see all acknowledged writes?"""
        self.table, self.rule, self.contents, self.n, self.r, self.w = table, rule, keys, n, r, w
        self.path = os.path.join(folder, f"history-{table}.txt")
        self.file = open(self.path, "w")
        self.began_ns, self.count, self.stamps = now_ns(), 0, {}
        print("dynode-history 1", f"table {rule} {n} {r} {w} {int(strict)} {50_000_000}", sep="\n", file=self.file)
        for key, content in enumerate(keys):
            if content != PLAIN:
                print("key", key, content, file=self.file)

    def key_bytes(self, key):
        return b"%s/%d" % (self.contents[key].encode(), key)

    def begin(self):
        """Returns (token, when)."""
        self.count += 1
        return self.count, now_ns() - self.began_ns

    def end(self, token, begun, kind, outcome, key, *, status=0, flags="", session=0, node=0, deadline_ms=0, ttl_ms=0, covers=(),
            elements=(), seen=()):
        ended = now_ns() - self.began_ns
        print("op", token, kind, outcome, status, flags or "-", session, node, key, begun, ended,
              begun + deadline_ms * 1_000_000, ttl_ms * 1_000_000, _list(covers), _list(elements), _list(seen), file=self.file)

    def final(self, key, node, seen):
        print("final", key, node, 1, _list(seen), file=self.file)

    def encode(self, token, key, elements, size):
        body = struct.pack(f">{len(elements)}I", *elements)
        body += bytes([token & 255]) * max(0, size - len(body))
        return _HEAD.pack(token, key, len(elements), self._sum(token, key, len(elements), body)) + body

    def _sum(self, token, key, count, body):
        return zlib.crc32(body, zlib.crc32(b"%s %d %d %d" % (self.table.encode(), token, key, count)))

    def decode(self, value, key):
        """Returns (token, elements)."""
        if len(value) < _HEAD.size:
            raise Damage("cut short")
        token, whose, count, checksum = _HEAD.unpack_from(value)
        body = value[_HEAD.size:]
        if checksum != self._sum(token, whose, count, body):
            raise Damage("damaged, or of another table")
        if whose != key:
            raise Damage(f"that of key {whose}")
        return token, struct.unpack_from(f">{count}I", body)

    def hear(self, token, key, result):
        """Returns (tokens, elements merged) of an answer, and notes what is wrong with it."""
        seen, merged = [], []
        for sibling in result.siblings:
            try:
                one, elements = self.decode(sibling.value, key)
            except Damage as damage:
                print("damage", token, damage, file=self.file)
                continue
            seen.append(one)
            if self.stamps.get(one) != sibling.written_ms:  # most are heard often; a file has room for some twice
                if len(self.stamps) > 4096:
                    self.stamps.clear()
                self.stamps[one] = sibling.written_ms
                print("written", one, sibling.written_ms, file=self.file)
            if self.contents[key] == CART:
                elements = (*elements, one)
            for element in elements:
                merge(merged, self.contents[key], element)
        return seen, merged

    def close(self):
        print("end", self.count, file=self.file)
        self.file.close()

    def judge(self, program):
        """Returns (good, lines)."""
        done = subprocess.run([program, self.path], capture_output=True, text=True)
        return done.returncode == 0, (done.stdout + done.stderr).splitlines()


def merge(elements, content, element):
    if content == CART:
        if element not in elements:
            elements.append(element)
    elif content == COUNTER:
        for index, other in enumerate(elements):
            if other >> COUNTER_BITS == element >> COUNTER_BITS:
                elements[index] = max(other, element)
                return
        elements.append(element)


def _list(numbers):
    return ",".join(map(str, numbers)) or "-"
