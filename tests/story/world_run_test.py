"""What `sim/run world` makes of wrong arguments, and what Ctrl-C leaves behind in a hunt and while a seed is made smaller: the
exit status, what was found so far, and no process. And that the help of each part of sim/run may go to who reads no more.

usage: world_run_test.py SOURCE_DIR DYNODE_WORLD
"""
import os
import re
import shlex
import signal
import subprocess
import sys
import time

WRONG = ("--seed", "--seed x", "--seed -3", "--seed 18446744073709551616", "--seeds 5", "--seeds 5..3", "--seeds 1..18446744073709551616",
         "--minutes 0", "--minutes -1", "--minutes nan", "--minutes inf", "--jobs 0", "--trace 5", "--seed 3 --trace -5",
         "--seed 3 --minimize --trace", "--seed 1 --seeds 1..2", "--set nothing=1", "--set nodes=99", "--set sessions=128", "--set nodes=",
         "--seed 3 --set nothing=1", "--seed 3 --set nothing=1 --minimize", "--seeds 1..3 --set nodes=99 --minimize",
         "--seed 3 --program /nowhere", "--seeds 1..3 --program /nowhere", "word")
BAD = "--set quorum=1 --set levels=0 --set strict=1 --set core_ms=0 --set lost_max=0"  # R=W=1, judged as if the quorums overlapped


def start(source, program, words):
    return subprocess.Popen([sys.executable, os.path.join(source, "sim/world/main.py"), "--program", program, *shlex.split(words)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def alive(group):
    """The processes of a group that are not merely waited for."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(name))
    return found


def interrupt(source, program, words, line):
    """Ctrl-C once a line that begins so was printed. The exit status, and what was printed."""
    process = start(source, program, words)
    heard = []
    for text in process.stdout:
        heard.append(text)
        if text.startswith(line):
            break
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate()
    assert "Traceback" not in errors, errors
    until = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(process.pid)
    return process.returncode, "".join(heard) + rest


def help_without_a_reader(source):
    """As in `sim/run --help | head -3`, with head already gone."""
    for part in ((), ("local",), ("chaos",), ("world",), ("mutants",)):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([os.path.join(source, "sim/run"), *part, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert done.returncode == -signal.SIGPIPE and done.stderr == "", (part, done.returncode, done.stderr)
        done = subprocess.run([os.path.join(source, "sim/run"), *part, "--help"], stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0 and "usage: sim/run" in done.stdout, part


def main():
    source, program = sys.argv[1:]
    help_without_a_reader(source)
    for words in WRONG:
        done = start(source, program, words)
        _, errors = done.communicate()
        assert done.returncode == 2 and re.fullmatch(r"(usage: .*\n)?(\S.*: .*\n)", errors), (words, done.returncode, errors)

    status, output = interrupt(source, program, "--minutes 5 --jobs 2 " + BAD, "the first that failed: ")
    assert status == 1 and re.search(r"^FAILED sim/run world --seed \d+ ", output, re.MULTILINE), output

    status, output = interrupt(source, program, "--seeds 1..40 --jobs 2 --minimize " + BAD, "making seed ")
    repeat = re.search(r"^repeat: sim/run world (.*)$", output, re.MULTILINE)
    assert status == 1 and "its story:" in output and repeat, output
    again = start(source, program, repeat[1])
    output, trace = again.communicate()
    begins = int(repeat[1].rpartition(" ")[2])
    assert again.returncode == 1 and "FAILED seed=" in output, output
    assert begins <= float(trace.split()[0]), trace[:200]

    failing = re.search(r"^FAILED sim/run world --seed (\d+) ", output_of(source, program, "--seeds 1..12 --jobs 2 " + BAD), re.MULTILINE)
    output = output_of(source, program, f"--seed {failing[1]} --minimize {BAD}")
    assert re.search(r"^repeat: .* --set keys=1 ", output, re.MULTILINE), f"it was not made smaller\n{output}"
    assert re.search(r"^the smallest that was found: .* (misses|covers it|older write)", output, re.MULTILINE), output

    trace_tells_who_answers_what(source, program)


def output_of(source, program, words):
    return start(source, program, words).communicate()[0]


def trace_tells_who_answers_what(source, program):
    """An answer names the key that was asked for; what a node stores has a line, also what it asks of itself alone; and the
    trace changes nothing. A value that the same turn replaces is read there and never stored: no batches, no replacing."""
    words = "--seed 7 --set nodes=1 --set n=1 --set r=1 --set w=1 --set core_ms=0 --set lww=0 --set batching=0 --set blinds=0"
    traced, silent = start(source, program, words + " --trace"), start(source, program, words)
    output, trace = traced.communicate()
    assert silent.communicate()[0] == output
    asked = dict(re.findall(r"  (client [0-9./]+) -> \S+  (?:get|put|delete) (key\d+) ", trace))
    answered = re.findall(r" -> (client [0-9./]+)  (?:(key\d+): )?[A-Z]", trace)
    answered = [(who, key) for who, key in answered if who in asked]
    assert len(answered) > 100 and all(asked[who] == key for who, key in answered), trace[-2000:]
    stored = set(re.findall(r"#\d+", "\n".join(re.findall(r"  n1\.\d stores key\d+: (.*)", trace))))
    read = set(re.findall(r"#\d+", "\n".join(re.findall(r" -> client \S+  key\d+: OK( #.*)", trace))))
    assert len(read) > 20 and read <= stored, f"{read - stored} was read and never stored"


main()
