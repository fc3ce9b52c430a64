"""Clients in rooms, and what becomes of them."""

import asyncio
import collections
import contextlib
import random
import time

import websockets

import kit
from fleet.parts import DOMAIN

# Seconds: between two messages, of a client's stay, and before it returns.
PAUSE, STAY, RETURN = 1.0, (2, 12), 0.5
# Time after which a message is sent again, which an upstream may have taken to its end.
AGAIN = 2.0
# Last bytes of the clients' addresses.
ADDRESSES = range(2, 6)

# Seconds from which on the wait for an echo is noted.
NOTED = 0.2

Wait = collections.namedtuple("Wait", "took gateway upstream")
# A handshake is counted somewhere between its begin and `at`, an end about that time.
Opened = collections.namedtuple("Opened", "began at gateway upstream room")
Closed = collections.namedtuple("Closed", "began at gateway code")
Lost = collections.namedtuple("Lost", "at gateway upstream room code reason")


class Client:
    """A client that opens a WebSocket to its room again and again."""

    def __init__(self, load, number):
        self.load, self.room = load, number % load.rooms
        self.last = ADDRESSES[number % len(ADDRESSES)]
        self.gateway = self.upstream = None
        self.since = 0

    async def run(self):
        while not self.load.over:
            if socket := await self.load.handshake(self.room, self.last):
                await self.stay(socket)
            await asyncio.sleep(random.random() * RETURN)

    async def stay(self, socket):
        self.gateway, self.upstream, self.since = socket.gateway, socket.upstream, kit.clock()
        self.load.open.add(self)
        try:
            await self.talk(socket)
            await socket.close()
            # The gateway may have closed it at the same moment.
            self.load.note_end(self.gateway, socket.close_code)
        except websockets.ConnectionClosed:
            code = socket.close_code
            lost = Lost(kit.clock(), self.gateway, self.upstream, self.room, code, socket.close_reason)
            self.load.lost.append(lost)
            self.load.note_end(self.gateway, code)
        finally:
            self.load.open.discard(self)

    async def talk(self, socket):
        """Sends numbered messages, each after the echo of the one before."""
        until, number = kit.clock() + random.uniform(*STAY), 0
        while kit.clock() < until or self.load.stays:
            if self.load.over:
                return
            number += 1
            asked = kit.clock()
            await self.echo(socket, number)
            took = kit.clock() - asked
            if took > NOTED:
                self.load.waits.append(Wait(took, self.gateway, self.upstream))
            await asyncio.sleep(PAUSE * random.uniform(0.8, 1.2))

    async def echo(self, socket, number):
        message = f"{self.room} {number}"
        await socket.send(message)
        while True:
            try:
                got = await asyncio.wait_for(socket.recv(), AGAIN if self.load.repeats else None)
            except TimeoutError:
                self.load.repeated += 1
                await socket.send(message)
                continue
            if got == message:
                return
            if got.startswith("hello ") and self.load.repeats:
                # Its WebSocket has got another upstream.
                self.upstream = got.split()[1]
                self.load.moved += 1
            elif got != f"{self.room} {number - 1}" or not self.load.repeats:
                self.load.damaged.append(f"{got[:80]!r} instead of {message!r}")


class Load:
    """Some hundred clients. Those that repeat what may be lost can get another upstream while they keep
    their WebSocket."""

    def __init__(self, fleet, clients, rooms, repeats):
        self.fleet, self.rooms, self.repeats = fleet, rooms, repeats
        self.clients = [Client(self, number) for number in range(clients)]
        self.open = set()
        self.opened, self.closed, self.lost = [], [], []
        self.refused, self.damaged = [], []
        self.over = self.stays = False
        self.waits = []
        self.repeated = self.moved = 0

    async def __aenter__(self):
        for last in ADDRESSES[1:]:
            self.fleet.net.add_address("clients", last)
        self.tasks = [asyncio.create_task(client.run()) for client in self.clients]
        await self.full(30)
        return self

    async def __aexit__(self, *_):
        self.over = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def handshake(self, room, last=2, host="clients", target="balancer", port=80):
        """Opens a WebSocket, or notes why it was refused. Upstream and gateway are those that greet."""
        began = kit.clock()
        try:
            async with asyncio.timeout(kit.SOON):
                connection = await self.fleet.net.connect(host, self.fleet.net.address(target), port, last)
                socket = await websockets.connect(
                    f"ws://{DOMAIN}/ws/room?room={room}", sock=connection, proxy=None, compression=None,
                    ping_interval=None, close_timeout=5,
                )  # fmt: skip
                greeting = await socket.recv()
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            self.refused.append((began, repr(error)))
            return None
        _, socket.upstream, socket.gateway, address = greeting.split()
        if address != self.fleet.net.address(host, last):
            self.damaged.append(f"the upstream gets the address {address}")
        now = time.time()
        self.opened.append(Opened(now - (kit.clock() - began), now, socket.gateway, socket.upstream, room))
        return socket

    def note_end(self, gateway, code):
        now = time.time()
        self.closed.append(Closed(now, now, gateway, code))

    def slowest(self, mark):
        """The longest of the handshakes from the `mark`-th on."""
        return max((one.at - one.began for one in self.opened[mark:]), default=0)

    async def visit(self, room, **way):
        """The name of the gateway that a client reaches which leaves at once."""
        if socket := await self.handshake(room, **way):
            await socket.close()
            self.note_end(socket.gateway, 1000)
            return socket.gateway
        return None

    async def full(self, within):
        """The time until each client has a WebSocket, or None."""
        began = kit.clock()
        while kit.clock() - began < within:
            # A few are between two stays.
            if len(self.open) >= 0.97 * len(self.clients):
                return kit.clock() - began
            await asyncio.sleep(0.05)
        return None

    def homes(self):
        """The upstreams of each room's clients."""
        homes = collections.defaultdict(set)
        for client in self.open:
            homes[client.room].add(client.upstream)
        return homes

    def with_two_homes(self):
        return {room: homes for room, homes in self.homes().items() if len(homes) > 1}

    async def chosen(self):
        """The upstream that each gateway chooses now for each room, asked without the load balancer."""
        chosen = collections.defaultdict(set)

        async def ask(room, host):
            if socket := await self.handshake(room, host="monitor", target=host, port=8080):
                chosen[room].add(socket.upstream)
                await socket.close()
                self.note_end(socket.gateway, 1000)

        for room in range(self.rooms):
            await asyncio.gather(*(ask(room, host) for host in self.fleet.gateways))
        return dict(chosen)

    async def quiet(self):
        """The clients stay, so that nothing is counted any more."""
        self.stays = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while len(self.open) < len(self.clients):
                    await asyncio.sleep(0.05)
