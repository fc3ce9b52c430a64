"""A leg that has vanished is noticed in time, and the other side gets its close frame.

A peer vanishes in three ways: its process stops (SIGSTOP), its machine's packets go nowhere, its
cable is pulled. The last two need network namespaces, and so root and iproute2: one for the client,
one for the proxy, one for the upstream, with two cables and no way out.
"""

import asyncio
import os
import signal
import sys

import kit
import namespaces
from namespaces import ip

INTERVAL, PONG = 500, 700
# The interval's jitter is 10 %. A second is for a machine that is busy.
BOUND = (INTERVAL * 1.1 + PONG) / 1000 + 1
PEER = (sys.executable, os.path.join(kit.HERE, "peer.py"))
# Close reason that the remaining side receives, and its code (RFC 6455 §7.4.1).
TOLD = {
    "upstream": "1011 upstream did not answer a ping",
    "client": "1001 client did not answer a ping",
}
QUIET, CHATTY = (), ("chatty",)


class Net(namespaces.Namespaces):
    """client 192.0.2.2 -- 192.0.2.1 proxy 198.51.100.1 -- 198.51.100.2 upstream (RFC 5737)."""

    CABLES = {"client": "192.0.2", "upstream": "198.51.100"}

    def __init__(self, number):
        self.names = {end: f"wsplice-{os.getpid()}-{number}-{end}" for end in ("client", "proxy", "upstream")}

    def spaces(self):
        return self.names.values()

    def lay_cables(self):
        for end, net in self.CABLES.items():
            far, near = self.names[end], self.names["proxy"]
            ip("-n", near, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", far)
            for name, link, host in [(near, end, 1), (far, "eth0", 2)]:
                ip("-n", name, "address", "add", f"{net}.{host}/24", "dev", link)
                ip("-n", name, "link", "set", "dev", link, "up")

    def address(self, end):
        return f"{self.CABLES[end]}.2:9000" if end == "upstream" else f"{self.CABLES['client']}.1:9000"

    def swallow(self, end):
        """What the machine sends goes nowhere, answers to what it gets included."""
        ip("-n", self.names[end], "route", "replace", "blackhole", f"{self.CABLES[end]}.1/32")

    def pull(self, end):
        ip("-n", self.names[end], "link", "set", "dev", "eth0", "down")


async def lose(suite, how, lost, chat=QUIET, net=None):
    name = f"{how}, {'chatty' if chat else 'quiet'} tunnel, {lost} lost"
    home = net.names if net else dict.fromkeys(["client", "proxy", "upstream"])
    serve = net.address("upstream") if net else "127.0.0.1:0"
    listen = net.address("client") if net else "127.0.0.1:0"
    async with await kit.Program.start(*PEER, "server", serve, netns=home["upstream"]) as upstream:
        address = await upstream.line("listening")
        async with (
            await kit.Proxy.start(address, INTERVAL, PONG, listen, home["proxy"]) as proxy,
            await kit.Program.start(*PEER, "client", proxy.address, *chat, netns=home["client"]) as client,
        ):
            peers = {"upstream": upstream, "client": client}
            for peer in peers.values():
                await peer.line("open")
            # Longer than an interval, so that pings have been answered.
            await asyncio.sleep(2.5 * INTERVAL / 1000)
            began = kit.clock()
            if how == "process stopped":
                peers[lost].process.send_signal(signal.SIGSTOP)
            elif how == "packets dropped":
                net.swallow(lost)
            else:
                net.pull(lost)
            left = "client" if lost == "upstream" else "upstream"
            told = await peers[left].line("closed")
            took = kit.clock() - began
            end = await proxy.closed()
    suite.check(told == TOLD[lost], f"{name}: the {left} is told {told!r}")
    suite.check(took < BOUND, f"{name}: after {took:.2f} s, {BOUND:.2f} s allowed")
    blamed = end["initiator"] == lost and end["end"] == f"pong timeout on the {lost} side"
    suite.check(blamed, f"{name}: reported as {end['end']!r} by the {end['initiator']}")
    answered = int(end[f"{lost}_pongs"])
    suite.check(answered > 0 or (chat and lost == "client"), f"{name}: {answered} pings answered before")


async def main():
    suite = kit.Suite("a leg that has vanished")
    ways = [(lost, chat) for lost in ("upstream", "client") for chat in (QUIET, CHATTY)]
    await asyncio.gather(*(lose(suite, "process stopped", *way) for way in ways))
    if reason := namespaces.missing():
        suite.skip(f"packets dropped, cable pulled: {reason}")
        return suite.end()

    async def isolated(number, how, lost, chat):
        with Net(number) as net:
            await lose(suite, how, lost, chat, net)

    hows = [(how, *way) for how in ("packets dropped", "cable pulled") for way in ways]
    await asyncio.gather(*(isolated(number, *one) for number, one in enumerate(hows)))
    return suite.end()


kit.run(main)
