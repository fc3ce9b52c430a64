"""Faults of the network on either leg of a tunnel.

A fault that cuts the leg off ends its tunnels within the documented time: the remaining side gets the
close code, and the report blames the side of the fault. A fault that the leg survives does no harm, and
every byte arrives. Tunnels of other clients to other upstreams notice neither.

Two clients have tunnels to two upstreams through one gateway; the faults are those of the cable of the
first client, or of the first upstream.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import sys
import tempfile

import websockets

import kit
import net

SERVER = (sys.executable, os.path.join(kit.HERE, "room_server.py"))
CLIENTS, UPSTREAMS = ("client", "visitor"), ("upstream", "neighbor")
PORT, ADMIN = 8080, 9090

# Milliseconds. A second is for a machine that is busy, and 10 % are the jitter of the interval.
INTERVAL, PONG, CONNECT = 500, 700, 1000
MARGIN = 1.0
NOTICED = (INTERVAL * 1.1 + PONG) / 1000 + MARGIN
RESET_NOTICED = INTERVAL * 1.1 / 1000 + MARGIN
# For networks that lose packets: TCP needs its time to send them again, and sends the first of a
# connection again after a second, three seconds and seven. Interval, pong timeout and connect timeout.
PATIENT = 1000, 8000, 12000

# Bytes of a message, messages of each tunnel, and the seconds that all of them may take.
BULK, MESSAGES, INTACT_WITHIN = 256 * 1024, 4, 30
# Seconds without an echo that a tunnel beside a fault may have.
HITCH = 1.5
# Scenes at the same time.
AT_ONCE = 3


class Tunnel:
    """A client's WebSocket. A chatty one asks for an echo every 100 ms."""

    def __init__(self, client, upstream, chatty):
        self.client, self.upstream, self.chatty = client, upstream, chatty
        self.path = f"/ws/{client}-{upstream}-{'chatty' if chatty else 'quiet'}"
        self.closed = asyncio.get_running_loop().create_future()
        self.hitch = 0
        self.echoes = asyncio.Queue()

    async def open(self, scene, room):
        connection = await scene.net.connect(self.client, scene.net.address("gateway"), PORT)
        self.socket = await websockets.connect(
            f"ws://gateway{self.path}?room={room}", sock=connection, proxy=None, compression=None,
            ping_interval=None, max_size=None, open_timeout=INTACT_WITHIN, close_timeout=1,
        )  # fmt: skip
        self.greeting = (await self.socket.recv()).split()
        self.tasks = [asyncio.create_task(self.listen())]
        if self.chatty:
            self.tasks.append(asyncio.create_task(self.chat()))
        return self

    async def listen(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in self.socket:
                self.echoes.put_nowait(message)
        self.closed.set_result((kit.clock(), self.socket.close_code, self.socket.close_reason))

    async def chat(self):
        for number in range(sys.maxsize):
            began = kit.clock()
            try:
                await self.ask(str(number))
            except websockets.ConnectionClosed:
                return
            self.hitch = max(self.hitch, kit.clock() - began)
            await asyncio.sleep(0.1)

    async def ask(self, message):
        """Sends a message, which must come back as it is."""
        await self.socket.send(message)
        echo = await self.echoes.get()
        if echo != message:
            raise ValueError(f"{self.path}: {echo[:80]!r} instead of {message[:80]!r}")

    async def close(self):
        for task in self.tasks:
            task.cancel()
        self.socket.transport.abort()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(ended, ValueError):
                raise ended


class Scene(contextlib.AsyncExitStack):
    """The network, the gateway, the two upstreams, and tunnels from each client to each upstream."""

    def __init__(self, interval, pong, connect):
        super().__init__()
        self.interval, self.pong, self.connect = interval, pong, connect
        self.tunnels = []

    async def __aenter__(self):
        await super().__aenter__()
        try:
            self.net = await self.enter_async_context(net.Net(*CLIENTS, "gateway", *UPSTREAMS))
            self.servers = {name: await self.serve(name) for name in UPSTREAMS}
            await self.start_gateway()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def start(self, host, *command, **options):
        return await self.enter_async_context(
            await kit.Program.start(*command, netns=self.net.namespace(host), **options)
        )

    async def serve(self, name):
        server = await self.start(name, *SERVER, name, f"{self.net.address(name)}:{PORT}")
        await server.line("listening")
        return server

    async def start_gateway(self):
        log = self.enter_context(tempfile.TemporaryFile("w"))
        gateway = self.net.address("gateway")
        program = await self.start(
            "gateway", os.environ["GATEWAY"],
            f"--listen={gateway}:{PORT}", f"--admin={gateway}:{ADMIN}", "--balance=query:room",
            f"--keep-alive={self.interval}ms", f"--pong-timeout={self.pong}ms", f"--connect-timeout={self.connect}ms",
            *(f"--upstream=ws://{self.net.address(name)}:{PORT}" for name in UPSTREAMS), stderr=log,
        )  # fmt: skip
        await program.line("listening on")

    async def open(self):
        """A quiet tunnel and a chatty one from each client to each upstream."""
        self.rooms = await self.find_rooms()
        for client in CLIENTS:
            for upstream in UPSTREAMS:
                for chatty in (False, True):
                    tunnel = await Tunnel(client, upstream, chatty).open(self, self.rooms[upstream])
                    self.push_async_callback(tunnel.close)
                    self.tunnels.append(tunnel)

    async def find_rooms(self):
        """A room for each upstream, by its hash."""
        rooms = {}
        for room in range(100):
            tunnel = await Tunnel("visitor", "any", False).open(self, room)
            await tunnel.close()
            rooms.setdefault(tunnel.greeting[1], room)
            if len(rooms) == len(UPSTREAMS):
                return rooms
        raise ValueError(f"a hundred rooms are all at {rooms}")

    def touched(self, leg):
        return [tunnel for tunnel in self.tunnels if leg in (tunnel.client, tunnel.upstream)]

    def beside(self, leg):
        return [tunnel for tunnel in self.tunnels if leg not in (tunnel.client, tunnel.upstream)]

    async def status(self):
        status, body = await self.net.fetch("gateway", self.net.address("gateway"), ADMIN, "/status.json")
        assert status == 200, body
        return json.loads(body)

    async def reports(self, tunnels):
        """What the gateway reports of these tunnels: words and side. It does when both legs have ended."""
        paths = {tunnel.path for tunnel in tunnels}
        async with asyncio.timeout(kit.SOON):
            while True:
                ends = {end["path"]: end for end in (await self.status())["ends"]["recent"]}
                if paths <= ends.keys():
                    return {(ends[path]["cause"], ends[path]["initiator"]) for path in paths}
                await asyncio.sleep(0.05)

    async def closed_total(self, end, initiator):
        """The sum of a counter of the metrics."""
        text = (await self.net.fetch("gateway", self.net.address("gateway"), ADMIN, "/metrics"))[1]
        series = rf'^wsplice_tunnels_closed_total\{{.*end="{end}",initiator="{initiator}",.*\}} (\d+)$'
        return sum(map(int, re.findall(series, text, re.M)))

    async def told(self, leg, tunnels, within):
        """When and how the remaining sides of these tunnels were closed, by the tunnels' paths."""
        if leg in UPSTREAMS:
            waits = {tunnel.path: asyncio.wait_for(tunnel.closed, within) for tunnel in tunnels}
            return dict(zip(waits, await asyncio.gather(*waits.values())))
        closed = {}
        async with asyncio.timeout(within):
            await asyncio.gather(*(self.server_told(name, tunnels, closed) for name in UPSTREAMS))
        return closed

    async def server_told(self, name, tunnels, closed):
        mine = {tunnel.path for tunnel in tunnels if tunnel.upstream == name}
        while not mine <= closed.keys():
            path, code, *reason = (await self.servers[name].line("closed")).split(" ", 2)
            if path in mine:
                closed[path] = (kit.clock(), int(code), "".join(reason))


class Expected:
    """How tunnels end whose leg is lost: the bound, the slug, and by the lost leg the words of the
    report, and the code and reason that the remaining side gets."""

    def __init__(self, within, slug, upstream, client):
        self.within, self.slug = within, slug
        self.words = {"upstream": upstream[0], "client": client[0]}
        self.told = {"upstream": upstream[1:], "client": client[1:]}


GONE = Expected(
    NOTICED, "pong_timeout",
    upstream=("pong timeout on the upstream side", 1011, "upstream did not answer a ping"),
    client=("pong timeout on the client side", 1001, "client did not answer a ping"),
)  # fmt: skip
# Without a close frame of the client, its upstream gets none either.
BROKEN = Expected(
    RESET_NOTICED, "broken",
    upstream=("the upstream's connection broke: connection reset", 1011, "upstream connection lost"),
    client=("the client's connection broke: connection reset", 1006, ""),
)  # fmt: skip


def black_hole(scene, leg):
    scene.net.between("gateway", leg, net.DROP)


def black_hole_from_gateway(scene, leg):
    scene.net.one_way("gateway", leg, net.DROP)


def black_hole_to_gateway(scene, leg):
    scene.net.one_way(leg, "gateway", net.DROP)


def reset(scene, leg):
    scene.net.between("gateway", leg, net.RESET)


def pulled_cable(scene, leg):
    scene.net.pull(leg)


CUTS = {
    black_hole: GONE,
    black_hole_from_gateway: GONE,
    black_hole_to_gateway: GONE,
    reset: BROKEN,
    pulled_cable: GONE,
}


def name_of(fault, leg):
    return f"{fault.__name__.replace('_', ' ')}, {leg}'s leg"


async def cut(suite, fault, leg):
    """A leg that is cut off: its tunnels end in time, with the blame on its side."""
    name, expected = name_of(fault, leg), CUTS[fault]
    async with Scene(INTERVAL, PONG, CONNECT) as scene:
        await scene.open()
        # Longer than an interval, so that pings have been answered.
        await asyncio.sleep(2.5 * INTERVAL / 1000)
        tunnels = scene.touched(leg)
        began = kit.clock()
        fault(scene, leg)
        await ends(suite, name, scene, leg, tunnels, expected, began)
        await go_on(suite, name, scene, leg)
        beside(suite, name, scene, leg)


async def ends(suite, name, scene, leg, tunnels, expected, began):
    """Checks when these tunnels end, what the remaining sides get, and what is reported."""
    closed = await scene.told(leg, tunnels, kit.SOON)
    took = max(at for at, *_ in closed.values()) - began
    fine = took < expected.within
    suite.check(fine, f"{name}: {len(closed)} tunnels end within {took:.2f} s, {expected.within:.2f} s allowed")
    told = {(code, reason) for _, code, reason in closed.values()}
    suite.check(told == {expected.told[leg]}, f"{name}: the other side gets {told}")
    blamed = await scene.reports(tunnels)
    suite.check(blamed == {(expected.words[leg], leg)}, f"{name}: reported as {blamed}")

    async def is_counted():
        return await scene.closed_total(expected.slug, leg) >= len(tunnels)

    await kit.time_until(is_counted, kit.SOON)
    counted = await scene.closed_total(expected.slug, leg)
    suite.check(counted == len(tunnels), f"{name}: {counted} such ends of {len(tunnels)} in the metrics")


async def go_on(suite, name, scene, leg):
    """While a leg is cut off: handshakes. Then it returns, and its parties learn that they were left."""
    client = "visitor" if leg == "client" else "client"
    upstream = "upstream" if leg == "client" else "neighbor"
    for time, bound in (("first", CONNECT / 1000 + MARGIN), ("second", MARGIN)):
        began = kit.clock()
        tunnel = await Tunnel(client, f"{time}-of", False).open(scene, scene.rooms["upstream"])
        took = kit.clock() - began
        await tunnel.close()
        right = tunnel.greeting[1] == upstream and took < bound
        suite.check(right, f"{name}: the {time} handshake reaches {tunnel.greeting[1]} after {took:.2f} s")
    scene.net.heal()
    scene.net.plug(leg)
    if leg == "client":
        chatty = [tunnel for tunnel in scene.touched(leg) if tunnel.chatty]
        ended = await asyncio.wait_for(asyncio.gather(*(tunnel.closed for tunnel in chatty)), kit.SOON)
        suite.check(len(ended) == 2, f"{name}: when it is back, {len(ended)} clients learn that their tunnels are closed")


def beside(suite, name, scene, leg):
    others = scene.beside(leg)
    open_ones = sum(not tunnel.closed.done() for tunnel in others)
    hitch = max(tunnel.hitch for tunnel in others)
    fine = open_ones == len(others) and hitch < HITCH
    suite.check(fine, f"{name}: {open_ones} of {len(others)} others are open, waited {hitch:.2f} s at most")


def loss(scene, leg):
    """With small packets, so that there are many to lose, among them the first of a new connection."""
    scene.net.narrow(leg, 600)
    scene.net.between("gateway", leg, net.LOSE_FIRST)
    scene.net.between("gateway", leg, net.LOSE)


def tiny_mtu(scene, leg):
    scene.net.narrow(leg, 600)


def tiny_mtu_on_the_way(scene, leg):
    """Only the router knows, and says so by ICMP."""
    net.ip("-n", scene.net.router, "route", "replace", scene.net.subnet(leg), "dev", leg, "mtu", "lock", 600)


def delay(scene, leg):
    scene.net.hold_up("gateway", [leg], delay=0.08)


def reordering(scene, leg):
    scene.net.hold_up("gateway", [leg], delay=0.002, jitter=0.006, doubled=0.02)


async def pulled_for_a_second(scene, leg):
    scene.net.pull(leg)
    await asyncio.sleep(1)
    scene.net.plug(leg)


# With what shows that the fault was there.
SURVIVED = {
    loss: lambda net, leg: (f"{net.packets()} packets lost", net.packets() > 100),
    tiny_mtu: None,
    tiny_mtu_on_the_way: lambda net, leg: ("the gateway learned the size", net.learned_mtu("gateway", leg) == 600),
    delay: lambda net, leg: (f"{net.late.packets} packets held up", net.late.packets > 100),
    reordering: lambda net, leg: (f"{net.late.overtaken} packets overtaken", net.late.overtaken > 100),
    pulled_for_a_second: None,
}


async def survive(suite, fault, leg):
    """A fault that a leg survives: all bytes arrive, no tunnel ends, and new ones open."""
    name, shown = name_of(fault, leg), SURVIVED[fault]
    async with Scene(*PATIENT) as scene:
        await scene.open()
        begun = fault(scene, leg)
        if begun:
            await begun
        await carry(suite, name, scene, leg)
        if shown:
            words, fine = shown(scene.net, leg)
            suite.check(fine, f"{name}: {words}")
        # Two intervals more, for pings.
        await asyncio.sleep(2.2 * scene.interval / 1000)
        ended = [tunnel.path for tunnel in scene.tunnels if tunnel.closed.done()]
        suite.check(not ended, f"{name}: {len(ended)} tunnels ended {ended}")
        healthy = {one["state"] for one in (await scene.status())["pools"][0]["upstreams"]}
        suite.check(healthy == {"healthy"}, f"{name}: upstreams are {healthy}")
        beside(suite, name, scene, leg)


async def carry(suite, name, scene, leg):
    """Large messages through the quiet tunnels, and through one that opens now."""
    began = kit.clock()
    messages = [random.randbytes(BULK) for _ in range(MESSAGES)]

    async def through(tunnel):
        for message in messages:
            await tunnel.ask(message)

    async with asyncio.timeout(INTACT_WITHIN):
        new = await Tunnel("client", "new", False).open(scene, scene.rooms["upstream"])
        scene.push_async_callback(new.close)
        tunnels = [new, *(tunnel for tunnel in scene.touched(leg) if not tunnel.chatty)]
        await asyncio.gather(*map(through, tunnels))
    size = len(messages) * BULK * len(tunnels) / 1024**2
    took = kit.clock() - began
    suite.check(True, f"{name}: {size:.0f} MiB intact each way after {took:.2f} s, {INTACT_WITHIN} s allowed")


async def large_packets_vanish(suite, leg):
    """A hop that takes no large packets and does not say so: tunnels with small messages live on, those
    with large ones end like those of a black hole."""
    name = name_of(large_packets_vanish, leg)
    async with Scene(INTERVAL, PONG, CONNECT) as scene:
        await scene.open()
        scene.net.one_way("gateway", leg, "ip length > 600 counter drop")
        large = [tunnel for tunnel in scene.touched(leg) if not tunnel.chatty]
        began = kit.clock()
        for tunnel in large:
            await tunnel.socket.send(random.randbytes(20000))
        await ends(suite, name, scene, leg, large, GONE, began)
        small = [tunnel for tunnel in scene.touched(leg) if tunnel.chatty]
        lived = sum(not tunnel.closed.done() for tunnel in small)
        suite.check(lived == len(small), f"{name}: {lived} of {len(small)} with small messages are open")
        beside(suite, name, scene, leg)


async def main():
    suite = kit.Suite("faults of the network on either leg")
    if reason := net.missing():
        suite.skip(reason)
        return 0
    survived = [*SURVIVED]
    if reason := net.cannot_hold_up():
        suite.skip(reason)
        survived = [fault for fault in survived if fault not in (delay, reordering)]
    scenes = []
    for leg in ("client", "upstream"):
        scenes += [(cut, fault, leg) for fault in CUTS]
        scenes += [(survive, fault, leg) for fault in survived]
        scenes.append((large_packets_vanish, leg))
    places = asyncio.Semaphore(AT_ONCE)

    async def play(scene, *rest):
        async with places:
            await scene(suite, *rest)

    async with asyncio.TaskGroup() as group:
        for scene in scenes:
            group.create_task(play(*scene))
    return suite.end()


kit.run(main)
