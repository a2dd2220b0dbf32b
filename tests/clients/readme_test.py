"""The README does not lie: its tour is typed into a shell and its Python client is run, against a real cluster.

A `console` block holds commands (`$ ...`) and what they print; a line of `…` stands for any lines, `…` within a line for
any text. Addresses of `sim/run` and the build directory are replaced by those of the test.
"""
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
from fixture import PROGRAM, ClusterCase, client, main  # noqa: E402

README = open(os.path.join(client.ROOT, "README.md"), encoding="utf-8").read()
MARK = "--- command "


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def pattern(expected):
    lines = [r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in expected]
    return re.compile("".join(lines))


class Readme(ClusterCase):
    TABLES = ""  # as sim/run starts it

    def here(self, text):
        for index, node in enumerate(self.nodes):
            text = re.sub(rf"\b127\.0\.0\.{11 + index}\b", node.host, text)
        return text.replace("$PWD/build/release/src/cli", os.path.dirname(PROGRAM)).replace("/tmp/ada", f"{self.folder}/ada")

    def run_(self, *command, stdin):
        return subprocess.run(command, input=stdin, cwd=client.ROOT, text=True, timeout=100, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C.UTF-8",
                                       ASAN_OPTIONS=os.environ["ASAN_OPTIONS"] + ":detect_leaks=0"))

    def test_tour_and_client(self):
        commands = []  # (command, [line that it prints])
        for line in "".join(blocks("console")).splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        self.assertGreater(len(commands), 15)
        script = "".join(f"echo '{MARK}{number}'\n{self.here(command)}\n" for number, (command, _) in enumerate(commands))
        printed = re.split(rf"^{MARK}\d+\n", self.run_("bash", stdin=script).stdout, flags=re.MULTILINE)[1:]
        self.assertEqual(len(printed), len(commands))
        for (command, expected), output in zip(commands, printed):
            with self.subTest(command):
                self.assertTrue(pattern(expected).fullmatch(output), f"$ {command}\n{output}")

        source, = blocks("python")
        self.assertLessEqual(len([line for line in source.splitlines() if line.strip()]), 30)
        done = self.run_("/usr/bin/python3", "-", stdin=self.here(source))
        self.assertEqual((done.returncode, done.stdout), (0, "OK [b'Grace Hopper']\n"))

    def test_configuration(self):
        source, = blocks("yaml")
        path = os.path.join(self.folder, "readme.yaml")
        with open(f"{self.folder}/secret", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write("a secret")
        with open(path, "w") as file:
            file.write(source.replace("/etc/dynode", self.folder).replace("/var/lib", self.folder))
        done = self.run_(PROGRAM, "serve", "--config", path, "--check", stdin="")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_every_file_that_it_names_exists(self):
        for name in re.findall(r"`((?:src|proto|configs|tests|sim)/[\w./]+)`", README) + re.findall(r"\]\((\S+?)\)", README):
            with self.subTest(name):
                self.assertTrue(os.path.exists(os.path.join(client.ROOT, name)))


if __name__ == "__main__":
    main()
