"""A real data set that every Debian machine has: the package index, one record per paragraph.

Key: name/version/architecture, for names repeat. Value: the paragraph's bytes. The lists of apt are compressed in whatever
way apt chose; apt-helper reads them all. A machine without lists (a bare container) has at least the status of what is
installed.
"""
import glob
import re
import subprocess

LISTS = "/var/lib/apt/lists/*_Packages*"
HELPER = "/usr/lib/apt/apt-helper"
STATUS = "/var/lib/dpkg/status"
_fields = re.compile(rb"^(Package|Version|Architecture): *(.*)$", re.MULTILINE)


def read():
    """Returns ({key: paragraph}, a sentence that says where it is from)."""
    records, lists = {}, 0
    for path in sorted(glob.glob(LISTS)):
        done = subprocess.run([HELPER, "cat-file", path], stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode == 0:
            lists += 1
            _parse(done.stdout, records)
    if records:
        return records, f"the package index of this machine ({lists} lists of apt)"
    with open(STATUS, "rb") as file:
        _parse(file.read(), records)
    return records, (f"{STATUS}: small, for this machine has no package lists (`apt-get update` fetches them; then the "
                     "data set is about 65,000 records)")


def _parse(text, records):
    for paragraph in text.split(b"\n\n"):
        fields = dict(_fields.findall(paragraph))
        if b"Package" in fields:
            records[b"/".join(fields.get(name, b"") for name in (b"Package", b"Version", b"Architecture"))] = paragraph
