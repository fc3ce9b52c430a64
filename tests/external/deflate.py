"""permessage-deflate with context takeover survives pings between fragments.

Python's websockets is client and server. On every connection both send fragmented messages, slowly
and at the same time, and the proxy pings both legs every few milliseconds in between. What has
arrived is compared by checksum with what was sent. Every receiver inflates with the window that
earlier messages left behind, so one byte too many, too few or out of order breaks all that follows.
"""

import asyncio
import contextlib
import hashlib
import random
import sys

import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import OP_PING

import kit

INTERVAL = 10
CONNECTIONS = 12
MESSAGES = 8
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 32)

VARIANTS = {
    "context takeover, window of 15 bits": (15, False),
    "context takeover, window of 9 bits": (9, False),
    "no context takeover": (15, True),
}


class Seen:
    """What one side has sent and received, and the pings that it has got."""

    def __init__(self):
        self.sent, self.received = [], []
        self.payload = self.pings = self.between_fragments = 0

    def watch(self, socket):
        protocol, recv_frame = socket.protocol, socket.protocol.recv_frame

        def spy(frame):
            if frame.opcode is OP_PING:
                self.pings += 1
                # Some fragments of a message are here, and its last is not.
                self.between_fragments += protocol.cur_size is not None
            recv_frame(frame)

        protocol.recv_frame = spy


def digest(message):
    kind = b"text" if isinstance(message, str) else b"binary"
    data = message.encode() if isinstance(message, str) else message
    return hashlib.sha256(kind + data).hexdigest()


def fragments(dice, store):
    """Pieces of a few texts and of noise that come again and again: much to refer back to."""
    text = dice.random() < 0.5
    for _ in range(dice.randrange(2, 9)):
        piece = b"".join(dice.choice(store) for _ in range(dice.randrange(0, 8)))
        yield piece.hex() if text else piece


async def talk(socket, seen, dice):
    store = [dice.randbytes(dice.choice([3, 40, 700, 3000])) for _ in range(5)]

    async def send():
        for _ in range(MESSAGES):
            pieces = list(fragments(dice, store))
            message = type(pieces[0])().join(pieces)
            seen.sent.append(digest(message))
            seen.payload += len(message)

            async def slowly():
                for piece in pieces:
                    yield piece
                    await asyncio.sleep(dice.choice([0, 0.015, 0.04, 0.08]))

            await socket.send(slowly())

    async def receive():
        for _ in range(MESSAGES):
            seen.received.append(digest(await socket.recv()))

    await asyncio.gather(send(), receive())


async def variant(suite, name, bits, forget):
    servers, clients, extensions = {}, {}, []

    async def serve(socket):
        number = int(socket.request.path[1:])
        seen = servers[number] = Seen()
        seen.watch(socket)
        await talk(socket, seen, random.Random(f"{SEED} server {name} {number}"))
        await socket.wait_closed()

    async def connect(address, number):
        seen = clients[number] = Seen()
        async with websockets.connect(
            f"ws://{address}/{number}",
            extensions=[ClientPerMessageDeflateFactory(forget, forget, bits, bits)],
            ping_interval=None,
        ) as socket:
            seen.watch(socket)
            extensions.append(socket.response.headers["Sec-WebSocket-Extensions"] or "none")
            await talk(socket, seen, random.Random(f"{SEED} client {name} {number}"))

    factory = ServerPerMessageDeflateFactory(forget, forget, bits, bits)
    async with (
        websockets.serve(serve, "127.0.0.1", 0, extensions=[factory], ping_interval=None) as server,
        await kit.Proxy.start("127.0.0.1:%d" % server.sockets[0].getsockname()[1], INTERVAL) as proxy,
    ):
        tasks = [connect(proxy.address, number) for number in range(CONNECTIONS)]
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        tunnels = []
        with contextlib.suppress(asyncio.TimeoutError, EOFError):
            while len(tunnels) < CONNECTIONS:
                tunnels.append(await proxy.closed())

    broken = [repr(error) for error in ended if error is not None]
    suite.check(not broken, f"{name}: {CONNECTIONS} connections without an error {broken or ''}")
    agreed = all(
        "permessage-deflate" in header and ("no_context_takeover" in header) == forget
        for header in extensions
    )
    suite.check(agreed and len(extensions) == CONNECTIONS, f"{name}: agreed on {set(extensions)}")
    for number in range(CONNECTIONS):
        for one, other, way in [(clients, servers, "up"), (servers, clients, "down")]:
            sent = one[number].sent if number in one else []
            received = other[number].received if number in other else []
            if len(sent) == MESSAGES and sent == received:
                suite.count(1)
            else:
                suite.check(False, f"{name}: connection {number} {way}: {len(received)} messages, not as sent")
    for side, what in [(clients, "clients"), (servers, "servers")]:
        pings = sum(seen.pings for seen in side.values())
        between = sum(seen.between_fragments for seen in side.values())
        suite.check(between >= CONNECTIONS, f"{name}: {what} got {pings} pings, {between} of them between fragments")
    for leg, side in [("client", clients), ("upstream", servers)]:
        pongs = sum(int(tunnel[f"{leg}_pongs"]) for tunnel in tunnels)
        suite.check(pongs > 0, f"{name}: {pongs} pongs of the {leg} leg were taken for ours")
        wire = sum(int(tunnel[f"{leg}_bytes"]) for tunnel in tunnels)
        payload = sum(seen.payload for seen in side.values())
        suite.check(0 < wire < payload, f"{name}: {payload} bytes of the {leg} were {wire} on the wire")
    ends = {(tunnel["end"], tunnel["client_close"], tunnel["upstream_close"]) for tunnel in tunnels}
    suite.check(ends == {("closed", "1000", "1000")}, f"{name}: {len(tunnels)} tunnels ended as {ends}")


async def main():
    suite = kit.Suite(f"permessage-deflate: pings between fragments (seed {SEED})")
    for name, (bits, forget) in VARIANTS.items():
        await variant(suite, name, bits, forget)
    return suite.end()


kit.run(main)
