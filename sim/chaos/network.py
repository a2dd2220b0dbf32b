"""The network between the nodes, and what befalls it.

        clients ---+--- bridge, in a network namespace of this run
                   |
        n1 --------+-------- n2 ...      a veth pair for each node; the node's end is in a namespace of the node's own

`apart()` moves this process into network and mount namespaces of its own before anything else happens. So all of this goes
when the process goes, however it ends, and nobody else on the machine meets it: the names of the nodes' namespaces, too, are
in a /run of our own.

Nobody asks for hardware addresses here: every neighbour is written down. One way from a to b is cut by writing down an
address that nobody has, so that frames vanish without a word, as they do in a switch that forgot somebody. A node's own
link can be taken down as well. Frames are lost by a classifier (`tc ... bpf`) that throws dice; they are delayed by netem
where the kernel has it, else by a narrow bucket that they have to queue for. Clients' ways are spared, so that a failed
request says something about the cluster.

Without root, or where the kernel lacks something, there is the loopback interface: then nothing between nodes fails.
"""
import ctypes
import os
import shutil
import subprocess
import sys

MARK = "DYNODE_CHAOS_APART"  # in the environment of the process that has been moved: how far
CLIENTS = "10.77.0.1"
NARROW_KBIT = 4000  # of a link that is slow because it is narrow; its queue is as long as it shall be slow
NOWHERE = "02:00:00:00:ee:ee"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_PROBE = """mount -t tmpfs tmpfs /run && ip link set lo up && ip link add br0 type bridge && ip link add v0 type veth peer name v1 &&
ip netns add probe && ip link set v1 netns probe"""


def apart():
    """Run this program anew in namespaces of its own, as far as that is allowed. Returns in that process: (has a network of
    its own, may mount)."""
    if MARK not in os.environ:
        def can(*command):
            return shutil.which(command[0]) and subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30).returncode == 0
        os.environ[MARK] = "no"
        for kind, options, probe in (("network", ["--mount", "--net"], _PROBE), ("mounts", ["--mount"], "mount -t tmpfs tmpfs /run")):
            if can("unshare", *options, "sh", "-c", probe):
                os.environ[MARK] = kind
                os.execvp("unshare", ["unshare", *options, sys.executable, *sys.argv])
    kind = os.environ[MARK]
    return kind == "network", kind in ("network", "mounts")


class Loopback:
    """All on one interface, with addresses that no other run uses at the same time."""

    can = frozenset()
    about = "loopback addresses: no link is cut, slow or lossy (that takes root, unshare, iproute2, veth and bridge)"

    def __init__(self, count):
        pid = os.getpid()
        self.hosts = [f"127.{1 + pid % 250}.{1 + pid // 250 % 250}.{number}" for number in range(1, count + 1)]
        self.cuts = {}

    def enter(self, _):
        return None

    def heal(self):
        pass


class Namespaces:
    def __init__(self, count):
        self.hosts = [f"10.77.0.{10 + number}" for number in range(1, count + 1)]
        self.names = [f"dynode-{os.getpid()}-{number}" for number in range(1, count + 1)]
        self.macs = [f"02:00:00:00:00:{number:02x}" for number in range(1, count + 1)]
        self.cuts = {}  # (from, to): how many faults cut it
        self.away = {}  # node: how many faults took its link down
        self.shaped = {}  # (node, "slow" or "loss"): how much
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _ip("link set lo up", "link add br0 address 02:00:00:00:00:fe type bridge", f"addr add {CLIENTS}/24 dev br0",
            "link set br0 up")
        for node, name in enumerate(self.names):
            _ip(f"netns add {name}",
                f"link add n{node} type veth peer name eth0 address {self.macs[node]} netns {name}",
                f"link set n{node} master br0 up",
                f"neigh replace {self.hosts[node]} lladdr {self.macs[node]} dev br0 nud permanent")
            _ip("link set lo up", f"addr add {self.hosts[node]}/24 dev eth0", "link set eth0 gso_max_segs 1 up",  # real frames
                f"neigh replace {CLIENTS} lladdr 02:00:00:00:00:fe dev eth0 nud permanent",
                *(self._way(node, other) for other in range(count) if other != node), inside=name)
        self.open = [os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in self.names]
        self.can, self.about = {"cut", "isolate"}, f"network namespaces {self.names[0]} and so on"
        self._try_shapes()

    def _try_shapes(self):
        """What this kernel has: tried once, on the first node."""
        lacks = []
        self.delays = _run("tc", "-n", self.names[0], *"qdisc add dev eth0 root netem delay 1ms".split(), check=False)
        if self.delays:
            _run("tc", "-n", self.names[0], *"qdisc del dev eth0 root".split())
        else:
            lacks.append("netem (slow links are narrow ones instead)")
        for kind, much in (("slow", 40), ("loss", 3)):
            try:
                self.shape(0, kind, much)
                self.can.add(kind)
            except subprocess.CalledProcessError:
                lacks.append(f"what {kind} links need")
            self._unshape(0)
        if lacks:
            self.about += "; this kernel lacks " + ", ".join(lacks)

    def enter(self, node):
        """For the process of @node, before it becomes the program."""
        def enter():
            if _libc.setns(self.open[node], _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return enter

    def _way(self, a, b, mac=None):
        return f"neigh replace {self.hosts[b]} lladdr {mac or self.macs[b]} dev eth0 nud permanent"

    def cut(self, ways):
        """What is sent from a to b vanishes, for each (a, b) of @ways."""
        for way in ways:
            self.cuts[way] = self.cuts.get(way, 0) + 1
        self._set_ways(ways)

    def mend(self, ways):
        for way in ways:
            if self.cuts.get(way, 0) > 0:
                self.cuts[way] -= 1
        self._set_ways(ways)

    def _set_ways(self, ways):
        for node in {a for a, _ in ways}:
            _ip(*(self._way(a, b, NOWHERE if self.cuts.get((a, b)) else None) for a, b in ways if a == node), inside=self.names[node])

    def isolate(self, node):
        self.away[node] = self.away.get(node, 0) + 1
        _ip(f"link set n{node} down")

    def join(self, node):
        self.away[node] = max(0, self.away.get(node, 0) - 1)
        if self.away[node] == 0:
            _ip(f"link set n{node} up")

    def shape(self, node, kind, much):
        """slow: @much milliseconds, or as narrow; loss: @much percent. Of what goes from @node to other nodes."""
        def tc(words, program=None, more=""):
            _run("tc", "-n", self.names[node], *words.split(), *([program] if program else []), *more.split())
        if (node, kind) in self.shaped:
            return
        clients = int.from_bytes(bytes(map(int, CLIENTS.split("."))), "big")
        self.shaped[node, kind] = much
        if kind == "slow":
            # To clients as ever; to others through class 1:2. A packet's destination is at byte 30 of its frame.
            rate = "10gbit" if self.delays else f"{NARROW_KBIT}kbit"
            tc("qdisc add dev eth0 root handle 1: htb default 1")
            tc("class add dev eth0 parent 1: classid 1:1 htb rate 10gbit quantum 60000")
            tc(f"class add dev eth0 parent 1: classid 1:2 htb rate {rate} quantum 60000")
            if self.delays:
                tc(f"qdisc add dev eth0 parent 1:2 handle 2: netem delay {much}ms {much // 3}ms limit 100000")
            else:
                tc(f"qdisc add dev eth0 parent 1:2 handle 2: bfifo limit {NARROW_KBIT * much // 8}")
            program = f"4,32 0 0 30,21 0 1 {clients},6 0 0 0,6 0 0 4294967295"
            tc("filter add dev eth0 parent 1: protocol ip bpf bytecode", program, "flowid 1:2")
        else:
            tc("qdisc add dev eth0 clsact")
            dice = int((1 - much / 100) * 2**32)  # a random number from here on: dropped (2). To clients: passed (0).
            program = f"6,32 0 0 30,21 3 0 {clients},32 0 0 4294963256,53 0 1 {dice},6 0 0 2,6 0 0 0"
            tc("filter add dev eth0 egress protocol ip bpf da bytecode", program)

    def unshape(self, node, kind):
        if self.shaped.pop((node, kind), None) is not None:
            _run("tc", "-n", self.names[node], *f"qdisc del dev eth0 {'root' if kind == 'slow' else 'clsact'}".split(), check=False)

    def _unshape(self, node):
        for kind in ("slow", "loss"):
            self.unshape(node, kind)

    def heal(self):
        ways = [way for way, count in self.cuts.items() if count > 0]
        self.cuts.clear()
        self._set_ways(ways)
        for node in range(len(self.names)):
            self.away[node] = 0
            _ip(f"link set n{node} up")
            self._unshape(node)


def _run(*command, check=True, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    if check and done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, " ".join(command) + (f" ({text!r})" if text else ""), done.stdout, done.stderr)
    return done.returncode == 0


def _ip(*lines, inside=None):
    """One process for all of them; `ip netns add` is no command of a batch."""
    if inside is None:
        for line in [line for line in lines if line.startswith("netns ")]:
            _run("ip", *line.split())
        lines = [line for line in lines if not line.startswith("netns ")]
    if lines:
        _run("ip", *(["-n", inside] if inside else []), "-batch", "-", text="\n".join(lines) + "\n")
