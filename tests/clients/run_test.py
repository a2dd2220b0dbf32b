"""What tests/run.py shows while it works, how it sums up, and that it can be run again at once: the real one, with the real cmake
and ctest, on a project of three tests that takes no time to build. (What tests/run does before is in unit/setup_test.)

usage: run_test.py SOURCE_DIR
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = None
PRESETS = ("asan", "tsan", "fuzz", "debug", "release")
# `slow` ends when somebody has read from the pipe that it opens; `bad` fails as long as there is a file of that name.
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(few NONE)
enable_testing()
add_custom_target(whole ALL COMMAND ${CMAKE_COMMAND} -E touch whole)
add_custom_target(tsan_tests COMMAND ${CMAKE_COMMAND} -E touch some)
add_test(NAME unit/quick_test COMMAND true)
add_test(NAME unit/slow_test COMMAND sh -c "echo >${CMAKE_SOURCE_DIR}/pipe")
add_test(NAME tsan/bad_test COMMAND sh -c "! test -e ${CMAKE_SOURCE_DIR}/bad")
set_tests_properties(unit/quick_test unit/slow_test PROPERTIES LABELS unit)
set_tests_properties(unit/slow_test PROPERTIES DEPENDS unit/quick_test)
set_tests_properties(tsan/bad_test PROPERTIES LABELS tsan)
"""


class Run(unittest.TestCase):
    def setUp(self):
        self.at = tempfile.mkdtemp(prefix="dynode-run-")
        self.addCleanup(shutil.rmtree, self.at)
        os.mkdir(os.path.join(self.at, "tests"))
        shutil.copy(os.path.join(SOURCE, "tests/run.py"), os.path.join(self.at, "tests"))
        self.write("CMakeLists.txt", PROJECT)
        self.write("CMakePresets.json", json.dumps({"version": 3, "configurePresets": [
            {"name": name, "generator": "Ninja", "binaryDir": "${sourceDir}/build/${presetName}"} for name in PRESETS]}))
        os.mkfifo(os.path.join(self.at, "pipe"))

    def write(self, name, text):
        with open(os.path.join(self.at, name), "w") as file:
            file.write(text)

    def start(self, *names):
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as it is for users
        process = subprocess.Popen([sys.executable, os.path.join(self.at, "tests/run.py"), *names], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=buffered)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def release_slow(self):
        with open(os.path.join(self.at, "pipe")) as pipe:
            pipe.read()

    def built(self):
        """What was built, by preset."""
        return {name: {made for made in ("whole", "some") if os.path.exists(os.path.join(self.at, "build", name, made))}
                for name in PRESETS if os.path.isdir(os.path.join(self.at, "build", name))}

    def test_progress(self):
        """Each build and each test is told as it comes, not in the end; everything means every preset, whole."""
        process = self.start()
        text = ""
        while not re.search(r"unit/quick_test \.+ +Passed", text):  # while the slow one waits for us
            line = process.stdout.readline()
            self.assertTrue(line, text)
            text += line
        for preset in PRESETS:
            self.assertRegex(text, rf"== building build/{preset}\n\[1/")
        self.assertIn("== unit: 2 tests, budget ", text)
        self.assertIsNone(process.poll())
        self.release_slow()
        text += process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0, text)
        self.assertRegex(text, r"(?s)summary.* 2 of +2 passed .* 1 of +1 passed .*\n3 passed, 0 failed\n$")
        self.assertEqual(self.built(), {name: {"whole"} for name in PRESETS})

    def test_one_test_twice_and_a_failure(self):
        """Run again at once, it does the same; a failure is named, and is the exit status."""
        for bad, passed, failed in ((True, 0, 1), (False, 1, 0), (False, 1, 0)):
            self.write("bad", "") if bad else os.path.exists(self.at + "/bad") and os.remove(self.at + "/bad")
            process = self.start("bad")
            text = process.communicate(timeout=60)[0]
            self.assertEqual(process.returncode, failed, text)
            self.assertEqual("  failed: tsan/bad_test\n" in text, bad, text)
            self.assertTrue(text.endswith(f"\n{passed} passed, {failed} failed\n"), text)
            self.assertNotIn("unit/", text)
        self.assertEqual(self.built(), {"asan": set(), "tsan": {"some"}, "fuzz": set()})
        process = self.start("ba")
        self.assertIn("no suite or test is named ba", process.communicate(timeout=60)[0])
        self.assertEqual(process.returncode, 2)

    def test_a_build_that_fails(self):
        self.write("CMakeLists.txt", PROJECT.replace("COMMAND ${CMAKE_COMMAND} -E touch some", "COMMAND false"))
        process = self.start("bad")
        text = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 1)
        self.assertIn("failed: cmake --build build/tsan\n0 passed, 1 failed\n", text)


if __name__ == "__main__":
    SOURCE = sys.argv.pop(1)
    unittest.main(verbosity=2)
