"""What --help teaches: for each command, by trial, each option that it takes, and no other; a value's default, or what it stands
in for; examples of those options only, what the exit statuses mean; in lines that fit a terminal of 120 columns.

usage: help_test.py PROGRAM SOURCE_DIR
"""
import glob
import os
import re
import subprocess
import sys
import unittest

PROGRAM, SOURCE = sys.argv[1:3]
WORDS = {"table": ["create"]}  # before the options


def dynode(*arguments):
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                          env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0", COLUMNS="80"))
    return done.returncode, done.stdout, done.stderr


class Help(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        status, cls.all, _ = dynode("--help")
        assert status == 0
        cls.commands = re.findall(r"^  ([a-z-]+) +\S.*$", cls.all.split("A first walk")[0], re.M)
        # Whatever is an option somewhere, {name: does it take a value}.
        cls.options = {}
        for path in glob.glob(os.path.join(SOURCE, "src/cli/*.[ch]")):
            with open(path) as file:
                for name, takes in re.findall(r'\{[\s\\]*"([a-z-]+)",\s*(no|required)_argument', file.read()):
                    cls.options[name] = cls.options.get(name, False) or takes == "required"
        cls.helps = {command: dynode(command, "--help") for command in cls.commands}

    def described(self, text):
        """{option: what is said of it}"""
        found, names = {}, []
        for line in text.splitlines():
            if begin := re.match(r" {2,6}(?:-\w, )?(--[a-z][a-z-]*(?:, --[a-z-]+)*)(.*)", line):
                names = begin[1].replace("--", "").split(", ")
                found.update({name: begin[2] for name in names})
            elif names and line.startswith(" " * 20):
                found.update({name: found[name] + " " + line.strip() for name in names})
            else:
                names = []
        return found

    def takes(self, command, name):
        """By trial."""
        option = f"--{name}=1" if self.options[name] else f"--{name}"
        status, out, err = dynode(command, *WORDS.get(command, []), option, "--help")
        self.assertIn(status, (0, 2))
        return not re.search("unrecognized option|ambiguous|does not belong to|it is for put", err)

    def test_there_are_commands(self):
        self.assertEqual(set(self.commands), {"serve", "get", "put", "delete", "scan", "table", "status", "accept-loss", "ring",
                                              "bench"})
        self.assertGreater(len(self.options), 40)
        self.assertRegex(self.all, r"Exit status: 0 ok, 1 .*, 2 .*, 3 .*, 4 ")

    def test_options(self):
        for command in self.commands:
            said = self.described(self.helps[command][1])
            for name in self.options:
                if name not in said and any(other.startswith(name) for other in said):
                    continue  # getopt takes --r for --raw
                self.assertEqual(self.takes(command, name), name in said, f"{command} --{name}")
            self.assertLessEqual(set(said), set(self.options), command)

    def test_defaults(self):
        for command in self.commands:
            for name, text in self.described(self.helps[command][1]).items():
                if re.match(r" [A-Z]", text):
                    self.assertRegex(text, "default|instead of|exit status 4", f"{command} --{name}")
                self.assertGreater(len(text.split()), 1, f"{command} --{name}")

    def test_examples_and_exit_statuses(self):
        for command in self.commands:
            status, text, err = self.helps[command]
            self.assertEqual((status, err), (0, ""))
            self.assertRegex(text, rf"^usage: dynode {command} ")
            examples = re.findall(rf"^  (?:\w+ \| )?dynode {command}\b.*", text, re.M)
            self.assertTrue(examples, command)
            for option in re.findall(r" --([a-z-]+)", " ".join(examples)):
                self.assertIn(option, self.described(text), command)
            self.assertRegex(text, r"\nExit status: 0 (?s:.*) 2 (?s:.*) 3 ", command)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 120, line)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
