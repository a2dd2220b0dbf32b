"""The disks under the nodes, and what befalls them.

Each node's data directory is a small file system of its own, in a file: so it can be full, and so its power can be cut. What a
node has not synced is then in the kernel's cache of the inner file system, and not in that file: a copy of the file is what
a machine finds that was switched off at that moment. It is mounted in place of the old one, and its journal is replayed.
A sync that is under way when a process is killed finishes all the same; so that there is something to lose, syncs are made slow
before the power goes (slow_disk.c).

Where there are no loop devices it is a tmpfs (full, but a power cut is no more than a kill), and where nothing may be
mounted a plain directory. All mounts are in a mount namespace of this run.
"""
import os
import random
import shutil
import subprocess

IMAGE_MB = 384


class Disk:
    """Of one node. The node is not running in wipe(), flip() and cut_power()."""

    kind, can = "a directory", frozenset({"wipe", "flip", "old"})

    def __init__(self, folder, name):
        self.path, self.image, self.name = os.path.join(folder, name), os.path.join(folder, f"{name}.image"), name
        self.full, self.pace = False, os.path.join(folder, f"{name}.pace")
        self.slow(0)
        os.makedirs(self.path, exist_ok=True)
        self.prepare()

    def prepare(self):
        pass

    def environment(self, library):
        """Of a node whose syncs can be slow."""
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        return dict(os.environ, LD_PRELOAD=library, DYNODE_SLOW_DISK=self.pace,
                    ASAN_OPTIONS=f"{sanitizer}{':' if sanitizer else ''}verify_asan_link_order=0")

    def slow(self, ms):
        """Each sync takes so much longer."""
        with open(self.pace + ".new", "w") as file:
            file.write(str(ms))
        os.replace(self.pace + ".new", self.pace)

    def fill(self, leave):
        """Until @leave bytes are left for the node."""
        self.full = True
        with open(os.path.join(self.path, "filler"), "ab") as file:
            for _ in range(40):
                free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize - leave
                if free < 4096:
                    return
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, min(free, 32 << 20))
                except OSError:  # the node took it
                    pass

    def free(self):
        self.full = False
        try:
            os.remove(os.path.join(self.path, "filler"))
        except FileNotFoundError:
            pass

    def cut_power(self):
        """Killing the node was all of it."""

    def wipe(self):
        for entry in os.scandir(self.path):
            shutil.rmtree(entry.path) if entry.is_dir() else os.remove(entry.path)

    def flip(self, seed):
        """A bit in every page of one of the node's tables of objects. Returns what was damaged. What the node has moved aside
        before is removed, as somebody has looked at it since."""
        drawn, files = random.Random(seed), []
        for folder, folders, names in os.walk(self.path):
            for broken in [name for name in folders if ".broken-" in name]:
                shutil.rmtree(os.path.join(folder, broken))
                folders.remove(broken)
            files += [os.path.join(folder, name) for name in names if name == "objects.wt"]
        if not files:
            return "nothing"
        path = drawn.choice(sorted(files))
        with open(path, "r+b") as file:
            for offset in range(8192, os.path.getsize(path), 4096):
                file.seek(offset + drawn.randrange(4096))
                byte = file.read(1)
                if byte:
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1 << drawn.randrange(8)]))
        return os.path.relpath(path, self.path)

    def keep(self):
        """What is there now is what restore() brings back."""
        shutil.rmtree(self.path + ".old", ignore_errors=True)
        shutil.copytree(self.path, self.path + ".old", ignore=shutil.ignore_patterns("filler", "lost+found"))

    def restore(self):
        if os.path.isdir(self.path + ".old"):
            self.wipe()
            shutil.copytree(self.path + ".old", self.path, dirs_exist_ok=True)

    def remove(self):
        pass


class MemoryDisk(Disk):
    kind, can = "a tmpfs", frozenset({"full", "wipe", "flip", "old"})

    def prepare(self):
        _run("mount", "-t", "tmpfs", "-o", f"size={IMAGE_MB}m,mode=0700", "tmpfs", self.path)

    def remove(self):
        subprocess.run(["umount", "--lazy", self.path], stderr=subprocess.DEVNULL)  # it would go with its namespace, too


class ImageDisk(MemoryDisk):
    kind, can = "an ext4 in a file", frozenset({"full", "power", "wipe", "flip", "old"})

    def prepare(self):
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_MB << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self._mount()

    def _mount(self):
        _run("mount", "-o", "loop,noatime", self.image, self.path)
        os.chmod(self.path, 0o700)

    def cut_power(self):
        copy = self.image + ".copy"
        _run("cp", "--sparse=always", self.image, copy)
        _run("umount", self.path)
        os.replace(copy, self.image)
        self._mount()
        if not self.full:
            self.free()  # that it was freed may be among what was lost

    def wipe(self):
        super().wipe()
        os.makedirs(os.path.join(self.path, "lost+found"), exist_ok=True)


def best(folder, may_mount):
    """The kind of disk that works here: tried once."""
    for kind in (ImageDisk, MemoryDisk) if may_mount else ():
        probe = os.path.join(folder, "probe")
        os.makedirs(probe)
        try:
            disk = kind(probe, "disk")
            if "power" in kind.can:
                disk.cut_power()
            disk.remove()
            return kind
        except (OSError, subprocess.SubprocessError):
            subprocess.run(["umount", "--lazy", os.path.join(probe, "disk")], stderr=subprocess.DEVNULL)
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    return Disk


def _run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
