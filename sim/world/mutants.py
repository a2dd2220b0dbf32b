"""Mutants: does the simulator find what is broken? Breaks a copy of the product on purpose, one way after the other, and
hunts for it with worlds from seed 1 on. What each break is, which checker found it and after how many seeds is printed as
the table that sim/README.md keeps."""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name: what it does to the product; then where (below src/), what stands there once, and what comes in its place; then
# options by hand, where what it takes is drawn too rarely.
# Worlds in which tombstones go soon, and what was deleted comes late.
RETURNS = ("reap=1", "sloppy=100", "deletes=40", "recreates=20", "pass_ms=100", "strays=300000", "resets=5000", "crashes=8000", "splits=4000")
MUTANTS = {
    "ack-before-sync": ("a replica's vote leaves before its commit is durable", "actor/release.c",
                        "release->list[release->first].turn > turn)", "false && release->list[release->first].turn > turn)"),
    "drop-sibling": ("a merge of concurrent siblings keeps one", "version/object.c",
                     "    join_siblings(a, b, merged.siblings, &is_a, &is_b);\n    return merged;",
                     "    join_siblings(a, b, merged.siblings, &is_a, &is_b);\n    merged.count = 1;\n    return merged;"),
    "covers-above": ("a context covers a dot only if its counter is greater, not equal", "version/dvv.h",
                     "vv_get(vv, dot.clock) >= dot.counter", "vv_get(vv, dot.clock) > dot.counter"),
    "covers-next": ("a context covers one dot more than it should", "version/dvv.h",
                    "vv_get(vv, dot.clock) >= dot.counter",
                    "vv_get(vv, dot.clock) + (vv_get(vv, dot.clock) != 0) >= dot.counter"),
    "vote-twice": ("a home that answers twice counts twice", "actors/coordinate_write.c",
                   "    if (mail->from.node != turn->self.node && !slot_owes(slot, position, stand_in)) return;\n"
                   "    slot_settle(slot, turn, position, stand_in);\n"
                   "    if (merged->status != STATUS_OK)\n"
                   "        position_lost(slot, position, stand_in);\n"
                   "    else if (stand_in)\n"
                   "        put_core_keep(&slot->put, position);\n"
                   "    else\n"
                   "        put_core_ack(&slot->put, position);\n",
                   "    bool again = mail->from.node != turn->self.node && !slot_owes(slot, position, stand_in);\n"
                   "    if (again && (merged->status != STATUS_OK || stand_in)) return;\n"
                   "    if (!again) slot_settle(slot, turn, position, stand_in);\n"
                   "    if (again)\n"
                   "        slot->put.acked |= (slot->put.acked + 1) & ((1U << slot->put.n) - 1);\n"
                   "    else if (merged->status != STATUS_OK)\n"
                   "        position_lost(slot, position, stand_in);\n"
                   "    else if (stand_in)\n"
                   "        put_core_keep(&slot->put, position);\n"
                   "    else\n"
                   "        put_core_ack(&slot->put, position);\n",
                   "nodes=5", "n=3", "r=2", "w=2", "weak=0", "core_ms=0", "repeats=200000", "crashes=12000",
                   "cuts=12000", "losses=20000", "sloppy=0", "rots=0", "wipes=0", "slow_disks=40000"),
    "same-clock": ("a clock id survives a restart, its counter only as far as it is durable", "actors/mints.c",
                   "    return store_scan(store, STORE_META, bytes_str(prefix), bytes_str(prefix_end), load_row, mints);",
                   "    enum status status ="
                   " store_scan(store, STORE_META, bytes_str(prefix), bytes_str(prefix_end), load_row, mints);\n"
                   "    mints->open = mints->count > 0;\n    return status;"),
    "second-dot": ("a write that comes twice is minted twice", "actors/coordinator.c",
                   "        !repeats_note(&coordinator->repeats, mail->from, mail->request))",
                   "        !repeats_note(&coordinator->repeats, mail->from, mail->request) && false)"),
    "retry-forgotten": ("a retry with the same token is minted beside the first", "actors/replica.c",
                        "    if (before != NULL) { /* a retry", "    if (before != NULL && false) { /* a retry"),
    "hint-restart": ("hints are not looked for when a shard starts", "actors/hints.c",
                     "return store_scan(store, STORE_HINTS,", "return STATUS_OK; store_scan(store, STORE_HINTS,",
                     "sloppy=100"),
    "strict-forgotten": ("a strict write is taken for a sloppy one", "actors/wish.c",
                         "put->quorum != DYNODE__CLIENT__QUORUM__STRICT", "put->quorum != (Dynode__Client__Quorum)99",
                         "nodes=5", "n=3", "r=2", "w=2", "sloppy=0", "core_ms=0"),
    "no-read-repair": ("stale homes that a read met stay stale", "actors/coordinate_read.c",
                       "if (stale != 0) repair(", "if (stale > UINT32_MAX - 1) repair(", "antientropy=0"),
    "short-key": ("two keys with the same beginning share a place in the store", "wire/object_wire.c",
                  "    put_be64(to + 2, place->hash);", "    put_be64(to + 2, place->hash >> 62 << 62);\n"
                  "    if (place->key.size > 0) return bytes_of(memcpy(to + STORE_PLACE_BYTES, place->key.data, 1) == NULL ?"
                  " to : to, STORE_PLACE_BYTES + 1);"),
    "unfilled-counts": ("a store that was lost and is empty now counts for reads", "actors/replica.c",
                        "!is_filled(replica, turn, read->place)) status", "!is_filled(replica, turn, read->place) && false) status"),
    "fill-one": ("a copy that was lost counts once one other home has told what it has", "actors/copies.c",
                 "bool filled = after.count == n - 1;", "bool filled = after.count >= 1;", "wipes=12000", "read_errors=12000", "sloppy=0"),
    "fill-at-once": ("a copy that was lost counts after a restart", "actors/copies.c", "if (born || is_born(store)) {",
                     "if (born || is_born(store) || vnodes > 0) {",
                     "wipes=12000", "sloppy=0"),
    "born-anyway": ("who holds something says to a new store that it is blank", "actors/blank.c",
                    "answer->blank = !any &&", "answer->blank = true || any ||", "wipes=12000", "sloppy=0"),
    "one-vote-less": ("a put is content with one vote less than W", "actors/put_core.c",
                      "if (put_core_got(core) >= core->w) return", "if (put_core_got(core) + (core->w > 1) >= core->w) return"),
    "one-answer-less": ("a get is content with one answer less than R", "actors/get_core.c",
                        "(uint32_t)__builtin_popcount(get_core_missing(core)) >= core->r) return GET_ENOUGH;",
                        "(uint32_t)__builtin_popcount(get_core_missing(core)) + (core->r > 1) >= core->r) return GET_ENOUGH;"),
    "all-is-majority": ("the level ALL asks a majority", "actors/wish.c",
                        "    case DYNODE__CLIENT__LEVEL__ALL:\n        return n;",
                        "    case DYNODE__CLIENT__LEVEL__ALL:\n        return n / 2 + 1;", "levels=40"),
    "own-number": ("a request's own R or W is not heard where it is above the table's", "actors/wish.c",
                   "if (wish->number != 0) return wish->number <= n ? wish->number : 0;",
                   "if (wish->number != 0 && wish->number <= table_number) return wish->number <= n ? wish->number : 0;",
                   "levels=40"),
    "first-answer": ("a get takes the first answer instead of merging all", "actors/get_core.c",
                     "            merged = object_merge(&merged, &object, rule, arena);\n            mixed = true;",
                     "            mixed = false;"),
    "overwrite": ("a replica takes what comes instead of merging it", "actors/replica.c",
                  "struct object merged = object_merge(&own, &incoming, rule, turn->arena);",
                  "struct object merged = incoming;\n    (void)rule;"),
    "condition-unmerged": ("a precondition is tested on the own copy alone", "actors/replica.c",
                           "if (!precondition_holds(mint, &current, &context, turn->wall_ms)) {",
                           "if (!precondition_holds(mint, &held.object, &context, turn->wall_ms)) {"),
    "condition-alone": ("a precondition reads one home instead of a majority", "actors/coordinator.c",
                        "coordinate_read_first(coordinator, turn, slot, conditional ? slot->n / 2 + 1 : 1);",
                        "coordinate_read_first(coordinator, turn, slot, 1);"),
    "condition-weak": ("a conditional write is content with W where that is no majority", "actors/coordinator.c",
                       "    if (conditional && w < majority) w = majority;\n", "",
                       "nodes=3", "n=3", "r=3", "w=1", "conditions=80", "losses=30000", "lost_max=0", "core_ms=0"),
    "condition-forgotten": ("a precondition is not tested", "actors/replica.c",
                            "if (!precondition_holds(mint, &current, &context, turn->wall_ms)) {",
                            "if (!precondition_holds(mint, &current, &context, turn->wall_ms) && false) {"),
    "stamp-by-clock": ("a new stamp may be below those that its context covers", "version/hlc.c",
                       "return own < over ? over : own;", "return own < over && 0 ? over : own;"),
    "lww-smallest": ("the home of an lww table keeps the least of two writes", "version/object.c",
                     "is_greater(in_b, in_a) ? in_b : in_a", "is_greater(in_b, in_a) ? in_a : in_b"),
    "lww-tie": ("of two writes with one stamp each home keeps its own", "version/object.c",
                "    return dot_compare(a->dot, b->dot) > 0;\n}\n\nstatic struct sibling *greatest",
                "    return false;\n}\n\nstatic struct sibling *greatest"),
    "covered-stays": ("a put stays beside what its context covers", "version/object.c",
                      "        if (vv_covers(context, old->dot)) continue;", "        (void)context;"),
    "byte-order": ("a key's place is sent in the wrong byte order", "actors/coordinator.c",
                   "    place->hash = slot->hash;", "    place->hash = __builtin_bswap64(slot->hash);"),
    "delete-removes": ("a delete leaves nothing that says so", "actors/replica.c",
                       "    *encoded = object_encode(&result, turn->arena);\n    *alone",
                       "    if (write.tombstone && result.count == 1) result.context = current.context, result.count = 0;\n"
                       "    *encoded = object_encode(&result, turn->arena);\n    *alone"),
    "context-alone": ("OK to a put hides that others are beside it", "actors/replica.c",
                      "    *alone = result.count == 1 && dot_compare(result.siblings[0].dot, write.dot) == 0;",
                      "    *alone = true;"),
    "expiry-ignored": ("an expired value is read", "version/object.h",
                       "(sibling->expires_ms == 0 || now_ms < sibling->expires_ms)",
                       "(sibling->expires_ms == 0 || now_ms < sibling->expires_ms || true)"),
    "applied-no": ("a write that may have been applied is said not to be", "actors/coordinator.c",
                   "slot->phase == SLOT_WRITING ? DYNODE__CLIENT__APPLIED__MAYBE : DYNODE__CLIENT__APPLIED__NO;",
                   "slot->phase == SLOT_WRITING ? DYNODE__CLIENT__APPLIED__NO : DYNODE__CLIENT__APPLIED__NO;"),
    "lost-is-no": ("a put whose coordinator was lost is said not to be applied", "actors/router_forward.c",
                   "    result->applied = DYNODE__CLIENT__APPLIED__MAYBE;\n    result->needed = 1;",
                   "    result->applied = DYNODE__CLIENT__APPLIED__NO;\n    result->needed = 1;"),
    "silent-again": ("a write whose coordinator is silent goes to the next home too", "actors/router_forward.c",
                     "send(turn, task, to.node, true);", "send(turn, task, to.node, false);"),
    "former-life": ("an answer to a slot's former life counts", "actors/slot.c",
                    "    return slot->id == id && slot->phase != SLOT_FREE ? slot : NULL;",
                    "    return slot->phase != SLOT_FREE ? slot : NULL;"),
    "deadline-lost": ("a coordinator does not watch its deadline", "actors/coordinator.c",
                      "        coordinate_fall_short(coordinator, turn, slot, STATUS_TIMEOUT, NULL);",
                      "        if (false) coordinate_fall_short(coordinator, turn, slot, STATUS_TIMEOUT, NULL);"),
    "nobody-begins": ("of half of the vnodes no home begins to compare", "actors/jobs.c",
                      "return (vnode % 2 == 0) == (turn->self.node < peer);",
                      "return vnode % 2 == 0 && turn->self.node < peer;"),
    "takes-only": ("who compares takes what it lacks, and gives nothing back", "actors/exchange_objects.c",
                   "if (!object_equal(&merged, theirs)) pushing_add(",
                   "if (!object_equal(&merged, theirs) && false) pushing_add("),
    "gives-only": ("... or gives, and takes nothing", "actors/exchange_objects.c",
                   "if (!object_equal(&merged, mine))\n        antientropy_merge(",
                   "if (!object_equal(&merged, mine) && false)\n        antientropy_merge("),
    "lacks-nothing": ("what only the other has is passed over", "actors/exchange.c",
                      "want_one(turn, exchange, &theirs->keys[k++], true, exchange->peer_whole);", "k++;"),
    "rot-unseen": ("an audit takes rotten bytes for good", "actors/audit.c",
                   "bool good = object_unseal(key, value, &encoded) == STATUS_OK;",
                   "bool good = object_unseal(key, value, &encoded) == STATUS_OK || value.size >= 8;", "rots=20000",
                   "core_ms=0", "keys=2000", "hot=0"),
    "refused-counts": ("a hint that is refused at its bound counts", "actors/hints.c",
                       "        hints->refused++;\n        return STATUS_NO_SPACE;", "        hints->refused++;\n        return STATUS_OK;",
                       "hint_bytes=1", "sloppy=100"),
    "tree-forgotten": ("a write is told to the tree only where it is the first of its object", "actors/replica.c",
                       "    forest_replace(replica->forest, &entry, held->checksum, checksum);",
                       "    if (held->checksum == 0) forest_replace(replica->forest, &entry, held->checksum, checksum);"),
    "reap-unproven": ("a tombstone goes without proof that all homes have seen it", "actors/reap.c",
                      "    if (!copies_is_whole(copies, vnode, n, turn->arena) ||",
                      "    if (false && !copies_is_whole(copies, vnode, n, turn->arena) &&", *RETURNS),
    "no-fence": ("what was reaped may arrive again", "actors/copies.c",
                 "    if (reaped.count == 0) return *incoming;", "    if (reaped.count < VV_ENTRIES_MAX) return *incoming;",
                 *RETURNS),
    "going-anyway": ("a tombstone that only one of two homes has is passed over, though another was reaped",
                     "actors/exchange_page.c",
                     "           reap_is_going(&object, &reading->reaped, reading->turn->wall_ms);",
                     "           reap_takes(&object);", *RETURNS),
    "seen-early": ("what another home has seen counts before it was brought", "actors/exchange.c",
                   "    if (exchange->same) return true;",
                   "    if (exchange->same) tell_replica(turn, exchange);\n    if (exchange->same) return true;",
                   *RETURNS),
    "reaped-apart": ("what was reaped is not kept in the commit that takes it out", "actors/copies.c",
                     "    enum status status = save_clocks(store, copy, &copy->seen, &joined);",
                     "    enum status status = store != NULL ? STATUS_OK : STATUS_STORE_BROKEN;", *RETURNS),
    "lost-seen": ("a copy that lost an object has seen it all the same", "actors/copies.c",
                  "    copy->since = copies->mints.first + copies->mints.count;\n    copy->compared_count = 0;\n"
                  "    keep_vv(&copy->seen, &nothing);", "    copy->compared_count = 0;\n    (void)nothing;", "rots=20000", *RETURNS),
    "undisturbed": ("an exchange counts although the copy was disturbed", "actors/replica_copies.c",
                    "return token == copies_token(copies, vnode, n) && reaped", "return token != 0 && reaped", *RETURNS),
}


# Whose words a verdict is in; the first that fits.
FINDERS = [(re.compile(words), checker) for words, checker in (
    (r"differs|is no home|has no home|hints that have not gone|trees? of vnode", "checker 6 (copies)"),
    (r"it has come back", "checker 7 (gone)"),
    (r"cart|counter", "checker 8 (merge)"),
    (r"in the end .*(lacks|older|nothing)", "checker 1 (final)"),
    (r"is said to be of|written at two times", "checker 2 (stamps)"),
    (r"nobody wrote|nobody had written|not to be applied|which expired|twice|which covers it|siblings|recognised",
     "checker 2 (siblings)"),
    (r"read \d+.*: session", "checker 3 (session)"),
    (r"read \d+ of key .*(misses|, covers it|older write|finds nothing)", "checker 4 (register)"),
    (r"succeeded on|the condition of write", "checker 5 (condition)"),
    (r"consumed|stands before|was rejected", "checker 5 (chain)"),
    (r"operation \d+ on|never answered|the last read of key|is down|could not be made|is not filled", "checker 10 (answers)"),
    (r"a value of key", "the values themselves"),
    (r"it died of signal", "a crash"))]
SEEDS = 1000  # a mutant must be found within so many
CHUNK = 4     # seeds that one process runs


def copy_tree(to):
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "CMakeLists.txt", "CMakePresets.json", "cmake", "proto", "src", "sim",
                            "tests"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)


def build(tree):
    done = subprocess.run(["cmake", "--build", "build/release", "--target", "dynode-world", "-j", str(os.cpu_count())], cwd=tree,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)


def hunt(tree, jobs, sets):
    """(the seeds that were good before, what the first that failed says); the latter None: all were good."""
    command = [str(tree / "build/release/sim/world/dynode-world"), "--quiet", *(word for one in sets for word in ("--set", one))]
    running, at, good = [], 1, 0
    while at <= SEEDS or running:
        while at <= SEEDS and len(running) < jobs:
            running.append((at, subprocess.Popen([*command, "--seeds", f"{at}..{at + CHUNK - 1}"], text=True, errors="replace",
                                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)))
            at += CHUNK
        first, process = running.pop(0)
        output, _ = process.communicate()
        if process.returncode == 0:
            good += CHUNK
            continue
        for _, other in running:
            other.kill()
            other.wait()
        good += len(re.findall(r"^ok ", output.partition("FAILED")[0], re.M))
        failed = re.search(r"^FAILED seed=\d+ (.*)", output, re.M)
        if failed:
            return good, failed[1]
        died = [line for line in output.splitlines() if not line.startswith(("run ", "ok "))]
        return good, died[0] if died else f"it died of signal {-process.returncode}"
    return good, None


def finder(why, tree):
    """What found it, and what it said."""
    why = why.replace(f"{tree}/", "")
    at = re.search(r"\((src/\S+?):\d+, ", why) if why.startswith("check failed: ") else None
    checker = f"CHECK in {at[1]}" if at else next((checker for words, checker in FINDERS if words.search(why)), "-")
    return checker, why


def stale(names):
    """Those of @names whose text does not stand once in the product, as a line each."""
    lines = []
    for name in names:
        _, path, old, *_ = MUTANTS[name]
        count = (ROOT / "src" / path).read_text().count(old)
        if count != 1:
            lines.append(f"{name}: src/{path} has {count} times what is to be broken: {old!r}")
    return lines


def main():
    parser = argparse.ArgumentParser("sim/run mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {' '.join(MUTANTS)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--check", action="store_true", help="only look whether each can still be made")
    parser.add_argument("--only-arguments", action="store_true", help=argparse.SUPPRESS)  # sim/run asks before it builds
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in MUTANTS]
    if unknown:
        parser.error(f"there is no mutant {unknown[0]}; they are {' '.join(MUTANTS)}")
    if chosen.only_arguments:
        return 0
    lines = stale(chosen.names or MUTANTS)
    if lines or chosen.check:
        print("\n".join(lines) or f"{len(chosen.names or MUTANTS)} mutants can be made")
        return 1 if lines else 0
    missed = 0
    with tempfile.TemporaryDirectory(prefix="dynode-mutants-") as folder:
        tree = pathlib.Path(folder)
        copy_tree(tree)
        subprocess.run(["cmake", "--preset", "release", "-DCMAKE_C_FLAGS=-w"], cwd=tree, stdout=subprocess.DEVNULL, check=True)
        build(tree)
        print("| what is broken | seeds until it was found | what found it |\n|---|---|---|", flush=True)
        for name in chosen.names or MUTANTS:
            what, path, old, new, *sets = MUTANTS[name]
            file = tree / "src" / path
            whole = file.read_text()
            file.write_text(whole.replace(old, new))
            build(tree)
            good, why = hunt(tree, chosen.jobs, sets)
            missed += why is None
            checker, words = finder(why or "", tree)
            what += f" (with {' '.join(sets)})" if sets else ""
            print(f"| {name}: {what} | {'not in ' + str(good) if why is None else good + 1} | {checker} |", flush=True)
            print(f"  {words}", file=sys.stderr, flush=True)
            file.write_text(whole)
    return 1 if missed else 0


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head
    sys.exit(main())
