"""Replaces a gateway by another on the same listening socket, several times and under load.

Usage: restart.py GATEWAY. Counts handshakes that were refused and tunnels that were cut: both must
be none, and the 99th percentile of the handshakes during a change at most a second.
"""

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

CHANGES = 4
TUNNELS = 100
LOOPS = 8
MAX_P99 = 1.0

HANDSHAKE = (
    b"GET /ws/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = 0x89
CLOSE = b"\x88\x82\x00\x00\x00\x00" + struct.pack(">H", 1000)


class Gateway:
    """A gateway process that has inherited the listening socket as descriptor 3."""

    def __init__(self, program, listening, folder, number):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = os.path.join(folder, f"notify-{number}")
        self.notify.bind(path)
        self.notify.settimeout(30)
        self.log = open(os.path.join(folder, f"log-{number}"), "w+")
        environment = dict(
            os.environ, LISTEN_FDS="1", LISTEN_FDNAMES="http", NOTIFY_SOCKET=path, NO_COLOR="1"
        )
        options = ["--drain-timeout", "20s", "--drain-spread", "1s"]
        self.process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', program, *options],
            env=environment,
            preexec_fn=lambda: os.dup2(listening.fileno(), 3),
            pass_fds=(3,),
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )

    def expect(self, state):
        """Waits for a state that the gateway reports to its service manager."""
        received = self.notify.recv(4096).decode()
        assert state in received.split(), f"{received!r} instead of {state}"

    def output(self):
        self.log.seek(0)
        return self.log.read()


class Load:
    """Clients, and what became of their handshakes and tunnels."""

    def __init__(self, port):
        self.port = port
        self.handshakes = []
        self.refused = []
        self.cut = []
        self.drained = 0
        self.open = 0
        self.over = False

    async def handshake(self):
        """Opens a tunnel, or records why it was refused."""
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(HANDSHAKE)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            self.refused.append(repr(error))
            return None
        if not head.startswith(b"HTTP/1.1 101 "):
            self.refused.append(head.split(b"\r\n")[0].decode())
            writer.close()
            return None
        self.handshakes.append((began, time.monotonic() - began))
        return reader, writer

    async def handshakes_without_end(self):
        while not self.over:
            tunnel = await self.handshake()
            if tunnel:
                tunnel[1].write(CLOSE)
                tunnel[1].close()
            await asyncio.sleep(0.01)

    async def tunnel_without_end(self):
        """Keeps a tunnel open, and opens another when a gateway has closed it."""
        while not self.over:
            tunnel = await self.handshake()
            if not tunnel:
                continue
            reader, writer = tunnel
            self.open += 1
            try:
                first = PING
                # A demo pings often.
                while first == PING:
                    first, length = await reader.readexactly(2)
                    payload = await reader.readexactly(length & 0x7F)
                code = struct.unpack(">H", payload[:2])[0] if first == 0x88 else first
                if code == 1001:
                    self.drained += 1
                else:
                    self.cut.append(f"code {code}")
                writer.write(CLOSE)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.cut.append(repr(error))
            finally:
                self.open -= 1
                writer.close()


async def wait_until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def change(old, new, load):
    """Replaces the old gateway by the new one, and returns the times of the handshakes meanwhile."""
    began = time.monotonic()
    await asyncio.to_thread(new.expect, "READY=1")
    drained = load.drained
    old.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(old.expect, "STOPPING=1")
    code = await asyncio.to_thread(old.process.wait, 60)
    assert code == 0, f"exit code {code}\n{old.output()}"
    stopped = re.search(r"stopped.*aborted=(\d+)|aborted=(\d+).*stopped", old.output())
    aborted = stopped and (stopped[1] or stopped[2])
    assert aborted == "0", f"tunnels were aborted: {old.output()[-2000:]}"
    # Clients may learn later than the gateway that their tunnels are closed.
    await wait_until(lambda: load.drained > drained, "tunnels are drained")
    await wait_until(lambda: load.open >= TUNNELS, "clients open their tunnels again")
    return [took for at, took in load.handshakes if at >= began]


async def run(program):
    with tempfile.TemporaryDirectory() as folder:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        load = Load(listening.getsockname()[1])
        gateways = [Gateway(program, listening, folder, 0)]
        try:
            await asyncio.to_thread(gateways[0].expect, "READY=1")
            loops = [load.handshakes_without_end() for _ in range(LOOPS)]
            loops += [load.tunnel_without_end() for _ in range(TUNNELS)]
            clients = [asyncio.create_task(loop) for loop in loops]
            await wait_until(lambda: load.open >= TUNNELS, "clients open their tunnels")
            during = []
            for number in range(1, CHANGES + 1):
                gateways.append(Gateway(program, listening, folder, number))
                during += await change(*gateways[-2:], load)
            load.over = True
            refused, cut = list(load.refused), list(load.cut)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        finally:
            for gateway in gateways:
                gateway.process.kill()
                gateway.process.wait()
    during.sort()
    p99 = during[int(len(during) * 0.99)]
    print(
        f"{CHANGES} changes, {len(during)} handshakes meanwhile: {len(refused)} refused, "
        f"p99 {p99 * 1000:.0f} ms; {load.drained} tunnels drained, {len(cut)} cut"
    )
    assert not refused, refused[:5]
    assert not cut, cut[:5]
    assert p99 <= MAX_P99, p99


asyncio.run(run(sys.argv[1]))
