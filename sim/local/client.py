"""A client of proto/client.proto, for the local cluster and the tests: frames, operations, and two kinds of connection.

`Connection` is for asyncio: many requests in flight, each awaited on its own. `Client` is a plain blocking socket. Both
take operations made by the functions here and give the results in the order of the operations; a result that came in
parts (siblings above a frame) is put together.
"""
import asyncio
import fcntl
import os
import socket
import struct
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAGIC = 0x64796E6F
FRAME_BYTES_MAX = 4 << 20


def _generate():
    """Have protoc write client_pb2.py into the build directory, unless what is there is newer than client.proto."""
    source, folder = os.path.join(ROOT, "proto", "client.proto"), os.path.join(ROOT, "build", "python")
    made = os.path.join(folder, "client_pb2.py")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(made) or os.path.getmtime(made) <= os.path.getmtime(source):
            subprocess.run(["protoc", "-I", os.path.dirname(source), f"--python_out={folder}", source], check=True)
    sys.path.insert(0, folder)


_generate()
import client_pb2 as pb  # noqa: E402


def status_name(status):
    return pb.Status.Name(status) if status in pb.Status.values() else str(status)


def get(table, key, **more):
    return pb.Operation(get=pb.Get(table=table, key=key, **more))


def put(table, key, value, **more):
    return pb.Operation(put=pb.Put(table=table, key=key, value=value, **more))


def delete(table, key, **more):
    return pb.Operation(delete=pb.Delete(table=table, key=key, **more))


def scan(table, **more):
    return pb.Operation(scan=pb.Scan(table=table, **more))


def create_table(name, rule="siblings", **more):
    info = pb.TableInfo(name=name, rule=pb.LWW if rule == "lww" else pb.SIBLINGS, **more)
    return pb.Operation(create_table=pb.CreateTable(table=info))


def drop_table(name):
    return pb.Operation(drop_table=pb.DropTable(name=name))


def list_tables():
    return pb.Operation(list_tables=pb.ListTables())


def cluster_info():
    return pb.Operation(cluster_info=pb.ClusterInfo())


def node_status():
    return pb.Operation(node_status=pb.NodeStatus())


def frame(message):
    body = message.SerializeToString()
    return struct.pack(">I", len(body)) + body


def hello(shard=0, name="python"):
    return frame(pb.ClientHello(magic=MAGIC, version=1, shard=shard, client=name))


class Refused(ConnectionError):
    """The node answered the hello with something else than OK."""


def _welcome(body):
    welcome = pb.ServerHello.FromString(body)
    if welcome.status != pb.OK:
        raise Refused(f"{status_name(welcome.status)}: {welcome.message}")
    return welcome


def _gather(results, responses):
    """Put the results of @responses in the order of their operations."""
    for response in responses:
        for result in response.results:
            so_far = results[result.operation]
            if so_far is None:
                results[result.operation] = result
            else:
                result.siblings[:0] = so_far.siblings
                results[result.operation] = result
    return results


def _split(address):
    """tcp://HOST:PORT or unix:///PATH."""
    if address.startswith("unix://"):
        return None, address[len("unix://"):]
    host, port = address[len("tcp://"):].rsplit(":", 1)
    return host.strip("[]"), int(port)


class Connection:
    """Pipelined, for asyncio. A lost connection fails all that waits on it with ConnectionError."""

    @classmethod
    async def open(cls, address, shard=0, seconds=5):
        self = cls()
        host, port = _split(address)
        opening = asyncio.open_unix_connection(port) if host is None else asyncio.open_connection(host, port)
        self.reader, self.writer = await asyncio.wait_for(opening, seconds)
        try:
            self.writer.write(hello(shard))
            self.welcome = _welcome(await asyncio.wait_for(self._frame(), seconds))
        except BaseException:
            self.writer.close()
            raise
        self.waiting, self.last_id = {}, 0
        self.task = asyncio.create_task(self._read())
        return self

    async def request(self, operations, deadline_ms=5000):
        if self.task.done():
            raise ConnectionResetError("connection lost")
        self.last_id += 1
        answered = asyncio.get_running_loop().create_future()
        self.waiting[self.last_id] = answered, []
        self.writer.write(frame(pb.Request(id=self.last_id, deadline_ms=deadline_ms, operations=operations)))
        return _gather([None] * len(operations), await answered)

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _frame(self):
        size, = struct.unpack(">I", await self.reader.readexactly(4))
        return await self.reader.readexactly(size)

    async def _read(self):
        why = ConnectionResetError("connection closed")
        try:
            while True:
                response = pb.Response.FromString(await self._frame())
                answered, parts = self.waiting[response.id]
                parts.append(response)
                if response.last:
                    del self.waiting[response.id]
                    if not answered.done():
                        answered.set_result(parts)
        except (OSError, asyncio.IncompleteReadError) as error:
            why = ConnectionResetError(f"connection lost: {error}")
        finally:
            self.writer.close()
            for answered, _ in self.waiting.values():
                if not answered.done():
                    answered.set_exception(why)
                    answered.exception()  # nobody may be waiting any more, and then it is no news


class Client:
    """One blocking connection. Nothing waits longer than @seconds: socket.timeout then."""

    def __init__(self, address, shard=0, seconds=10):
        host, port = _split(address)
        if host is None:
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.last_id, self.early = 0, {}
        try:
            self.socket.settimeout(seconds)
            self.socket.connect(port if host is None else (host, port))
            self.socket.sendall(hello(shard))
            self.welcome = _welcome(self._frame())
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, operations, deadline_ms=0):
        self.last_id += 1
        self.socket.sendall(frame(pb.Request(id=self.last_id, deadline_ms=deadline_ms, operations=operations)))
        return self.last_id, len(operations)

    def receive(self, sent):
        """The results of what send() returned @sent for; answers to other requests are kept for their turn."""
        request, count = sent
        parts = self.early.setdefault(request, [])
        while not parts or not parts[-1].last:
            response = pb.Response.FromString(self._frame())
            self.early.setdefault(response.id, []).append(response)
        return _gather([None] * count, self.early.pop(request))

    def call(self, *operations, deadline_ms=0):
        return self.receive(self.send(operations, deadline_ms))

    def one(self, operation, deadline_ms=0):
        return self.call(operation, deadline_ms=deadline_ms)[0]

    def _exactly(self, count):
        received = bytearray()
        while len(received) < count:
            more = self.socket.recv(count - len(received))
            if not more:
                raise ConnectionResetError("the node closed the connection")
            received += more
        return bytes(received)

    def _frame(self):
        size, = struct.unpack(">I", self._exactly(4))
        return self._exactly(size)
