"""What a person sees of it: a picture that is drawn anew twice a second on a terminal, lines elsewhere."""
import asyncio
import shutil
import sys
import time

from client import Connection, node_status, pb
from sessions import LOST

EVENTS = 8
SAY_EVERY_S = 10  # where there is no terminal
_BOLD, _RED, _GREEN, _YELLOW, _PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[0m"


class View:
    def __init__(self, seed, seconds, terminal=None):
        self.seed, self.seconds = seed, seconds
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self.events, self.drawn, self.before, self.began = [], 0, None, time.monotonic()
        self.storm = self.load = None
        self.phase = "starting"

    def say(self, text):
        """Something happened."""
        stamp = f"{time.monotonic() - self.began:7.1f}  {text}"
        if self.terminal and self.storm:
            self.events = [*self.events, stamp][-EVENTS:]
        else:
            print(stamp, flush=True)

    def keep(self, text):
        """What must not scroll away: above the picture."""
        self._clear()
        print(text, flush=True)

    async def run(self, stations):
        polling = [asyncio.create_task(_poll(station)) for station in stations]
        said = time.monotonic()
        try:
            while True:
                await asyncio.sleep(0.5)
                if self.terminal:
                    self._draw(self._lines(stations))
                elif time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    self.say(self._rates(stations))
        finally:
            for task in polling:
                task.cancel()
            await asyncio.gather(*polling, return_exceptions=True)
            self._clear()
            self.storm = None

    def _rates(self, stations):
        tally, now = self.load.tally, time.monotonic()
        ok, failed = tally.ok, tally.failed
        then, ok_then, failed_then = self.before or (self.began, 0, 0)
        if now - then > 2 or not self.before:
            self.before = now, ok, failed
        took = max(now - then, 1e-3)
        share, _ = tally.availability()
        up = sum(station.up for station in stations)
        return (f"{self.phase}: {up} of {len(stations)} nodes up, {(ok - ok_then) / took:.0f} operations/s, "
                f"{(failed - failed_then) / took:.1f} failed/s; available {100 * share:.3f} %, sloppy writes "
                f"{100 * tally.availability('sloppy write')[0]:.3f} %")

    def _lines(self, stations):
        elapsed = time.monotonic() - self.began
        yield f"{_BOLD}dynode under chaos{_PLAIN}   seed {self.seed}   {elapsed:.0f} s of about {self.seconds:.0f}   Ctrl-C ends it"
        yield self._rates(stations)
        yield ""
        yield f"{'node':8}{'state':22}{'answered':>10}{'failed':>8}{'starts':>8}  {'repairs':>8}{'errors':>8}{'dropped':>8}{'hints':>8}{'MB disk':>9}"
        for station in stations:
            colour = _GREEN if station.up else _RED
            report = station.report
            yield (f"{station.node.name:8}{colour}{station.state()[:21]:22}{_PLAIN}{station.ok:>10}{station.failed:>8}{station.starts:>8}  "
                   + "".join(f"{report.get(name, '-'):>{width}}" for name, width in
                             (("repairs", 8), ("errors", 8), ("dropped", 8), ("hints", 8), ("disk", 9))))
        yield ""
        yield f"{_BOLD}under way{_PLAIN}"
        for fault in list(self.storm.under_way.values()):
            yield f"  {_YELLOW}{fault.text()}{_PLAIN}   {max(0, self.storm.began + fault.until - time.monotonic()):.0f} s more"
        yield ""
        yield from self.events

    def _draw(self, lines):
        width = shutil.get_terminal_size().columns - 1
        lines = list(lines)
        picture = "\n".join(_cut(line, width) for line in lines)
        sys.stdout.write((f"\033[{self.drawn}A" if self.drawn else "") + f"\r\033[J{picture}\n")
        sys.stdout.flush()
        self.drawn = len(lines)

    def _clear(self):
        if self.drawn:
            sys.stdout.write(f"\033[{self.drawn}A\r\033[J")
            sys.stdout.flush()
            self.drawn = 0


def _cut(line, width):
    """To @width visible characters."""
    out, seen, at = "", 0, 0
    while at < len(line):
        if line[at] == "\033":
            end = line.index("m", at) + 1
            out, at = out + line[at:end], end
        else:
            out, seen, at = out + (line[at] if seen < width else ""), seen + 1, at + 1
    return out


async def _poll(station):
    """What the node says of itself, once a second while it can be asked."""
    connection = None
    while True:
        await asyncio.sleep(1)
        if not station.up:
            station.report = {}
        try:
            if connection is None or connection.task.done():
                connection = await Connection.open(station.node.address, 0, 2)
            asked, starts = time.monotonic(), station.starts
            answer, = await asyncio.wait_for(connection.request([node_status()], 1000), 2)
            if answer.status == pb.OK and station.up and station.starts == starts:
                station.report, station.said = _sum(answer.node.shards), (asked, answer.node)
        except LOST:
            if connection is not None:
                await connection.close()
                connection = None
        except asyncio.CancelledError:
            if connection is not None:
                await connection.close()
            raise


def _sum(shards):
    report = {name: sum(getattr(shard, name) for shard in shards) for name in ("repairs", "errors", "dropped")}
    names = [field.name for field in shards[0].DESCRIPTOR.fields if field.name in ("hints", "hint_count")] if shards else []
    if names:
        counted = [getattr(shard, names[0]) for shard in shards]
        report["hints"] = sum(one if isinstance(one, int) else sum(getattr(each, "count", 0) for each in one) for one in counted)
    report["disk"] = sum(shard.store_bytes for shard in shards) >> 20
    return report
