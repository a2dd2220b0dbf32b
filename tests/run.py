"""Build the presets that the wanted tests need, or all when all tests are wanted, run the tests suite by suite through
ctest, and sum up.

A suite is a ctest label. Each has a budget of seconds, printed with what it took, so that the whole stays under 20
minutes on 2 cores; a suite that takes thrice its budget is stopped, and its unfinished tests count as failed.
"""
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUDGETS = {"unit": 60, "turn": 60, "story": 60, "world": 300, "clients": 60, "cluster": 360, "tsan": 120, "fuzz": 120}
PRESETS = {"tsan": "tsan", "fuzz": "fuzz"}  # the others: asan
UNTESTED = ("debug", "release")  # built too when everything is run: no preset may stop building, or warn
JOBS = {"cluster": 1}  # several nodes each; the others: 2
ONLY_TARGET = {"tsan": "tsan_tests", "fuzz": "fuzzers"}  # what those presets build for some tests, where there is such a target


def say(text):
    print(f"\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"== {text}", flush=True)


def environment():
    here = os.path.join(ROOT, "tests")
    return dict(
        os.environ,
        ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0:exitcode=99",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        LSAN_OPTIONS=f"suppressions={here}/lsan.supp:print_suppressions=0",
        TSAN_OPTIONS=f"suppressions={here}/tsan.supp:halt_on_error=1:second_deadlock_stack=1",
        CMOCKA_MESSAGE_OUTPUT="stdout",
    )


def quiet(*command):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)


class Preset:
    """One build directory."""

    def __init__(self, name):
        self.name, self.folder = name, os.path.join(ROOT, "build", name)

    def configure(self):
        configured = quiet("cmake", "--preset", self.name)
        if configured.returncode:
            print(configured.stdout + configured.stderr, flush=True)
        return configured.returncode == 0

    def build(self, whole):
        say(f"building build/{self.name}")
        target = None if whole else ONLY_TARGET.get(self.name)
        if target and f"\n{target}: " not in quiet("ninja", "-C", self.folder, "-t", "targets", "all").stdout:
            target = None
        command = ["cmake", "--build", self.folder] + (["--target", target] if target else [])
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode == 0

    def suites(self):
        lines = quiet("ctest", "--test-dir", self.folder, "--print-labels").stdout.splitlines()
        found = {line.strip() for line in lines if line.startswith("  ")}
        return [suite for suite in BUDGETS if suite in found and PRESETS.get(suite, "asan") == self.name]

    def tests(self, suite):
        lines = quiet("ctest", "--test-dir", self.folder, "-N", "-L", f"^{suite}$").stdout.splitlines()
        return [match[1] for line in lines if (match := re.match(r"\s*Test\s+#\d+: (\S+)", line))]


def run_suite(preset, suite, tests):
    """Run the named tests; returns {test: "passed" | "failed" | "skipped"}, the seconds, and the seeds that no other run
    will have: ctest shows the output of those that failed only."""
    say(f"{suite}: {len(tests)} test{'s' * (len(tests) != 1)}, budget {BUDGETS[suite]} s")
    report = os.path.join(preset.folder, f"{suite}.xml")
    if os.path.exists(report):
        os.remove(report)
    command = ["ctest", "--test-dir", preset.folder, "-L", f"^{suite}$", "-R", "^(%s)$" % "|".join(map(re.escape, tests)),
               "-j", str(JOBS.get(suite, 2)), "--output-on-failure", "--test-output-size-passed", "65536",
               "--output-junit", report]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=environment(), start_new_session=True)
    try:
        process.wait(3 * BUDGETS[suite])
    except BaseException as error:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        print(f"{suite}: stopped after {3 * BUDGETS[suite]} s", flush=True)
    took = time.monotonic() - begun
    results = dict.fromkeys(tests, "failed")  # a test that ctest does not report did not pass
    seeds = []
    if os.path.exists(report):
        for case in xml.parse(report).getroot().iter("testcase"):
            status = case.get("status")
            if status == "run":
                results[case.get("name")] = "passed"
            elif case.find("skipped") is not None and status != "fail":
                results[case.get("name")] = "skipped"
            output = case.findtext("system-out") or ""
            seeds += [f"{case.get('name')}: {line}" for line in re.findall(r"^fresh seeds \d+\.\.\d+$", output, re.M)]
    return results, took, seeds


def wanted(names, presets):
    """Which tests each suite shall run, {(preset, suite): [test]}, and the names that are none."""
    plan, unknown = {}, set(names)
    for preset in presets:
        for suite in preset.suites():
            tests = preset.tests(suite)
            chosen = []
            for test in tests:
                short = test.split("/")[-1]
                matched = {name for name in names if name == suite or
                           name not in BUDGETS and name in (test, short, short.removesuffix("_test"))}
                unknown -= matched
                if matched:
                    chosen.append(test)
            if not names:
                chosen = tests
            if chosen:
                plan[preset, suite] = chosen
    return plan, unknown - set(BUDGETS)


def main(names):
    begun = time.monotonic()
    listing = "--list" in names
    names = [name for name in names if name != "--list"]
    presets, failures = [], []
    everything = not names and not listing
    for preset in map(Preset, ("asan", "tsan", "fuzz", *(UNTESTED if everything else ()))):
        if preset.configure():
            presets.append(preset)
        else:
            failures.append(f"cmake --preset {preset.name}")
    plan, unknown = wanted(names, presets)
    if listing:
        print("\n".join(test for tests in plan.values() for test in tests))
        return 0
    if unknown and not failures:
        print(f"no suite or test is named {', '.join(sorted(unknown))}; tests/run --list lists them")
        return 2
    for preset in presets:
        if (everything or any(preset is chosen for chosen, _ in plan)) and not preset.build(everything):
            failures.append(f"cmake --build build/{preset.name}")
            plan = {key: tests for key, tests in plan.items() if key[0] is not preset}

    rows, seeds = [], []
    counts = {"passed": 0, "failed": len(failures), "skipped": 0}
    for (preset, suite), tests in plan.items():
        results, took, fresh = run_suite(preset, suite, tests)
        seeds += fresh
        for test, result in results.items():
            counts[result] += 1
            if result == "failed":
                failures.append(test)
        rows.append((suite, list(results.values()), took))

    print()
    say("summary")
    for suite, results, took in rows:
        over = "   OVER ITS BUDGET" if took > BUDGETS[suite] else ""
        print(f"  {suite:10}{results.count('passed'):4} of {len(results):3} passed   {took:6.1f} s of {BUDGETS[suite]:4} s{over}")
    print(f"  {'total':10}{'':18}   {time.monotonic() - begun:6.1f} s, with building")
    for line in seeds:
        print(f"  {line}")
    for failure in failures:
        print(f"  failed: {failure}")
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
