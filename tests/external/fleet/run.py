"""A fleet of real parts under load, and one fault after another.

HAProxy balances TCP connections over three gateways, which find five or six upstreams by the SRV records
of a DNS server (knot) and send all clients of a room to the same one; Prometheus scrapes the gateways.
Each part is a host of its own in a network of namespaces. What is counted has a bound: clients that lose
their WebSocket though neither their gateway nor their upstream was touched, the time to notice, rooms
with two homes, and handshakes that are refused.
"""

import asyncio
import contextlib
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import kit
import net
from fleet.load import AGAIN, PAUSE, STAY, Load
from fleet.parts import CONNECT, GATEWAYS, TTL, UPSTREAMS, Fleet

CLIENTS, ROOMS = 240, 60

# Seconds. What a machine that is busy may take beside the documented times.
BUSY = 2.5
# The gateways ping after 1 s + 10 %, and wait 5 s for the pong.
VANISHED = 1.1 + 5 + BUSY
# Three probes, one each second; while unhealthy one each 2 s, of which two must pass.
UNHEALTHY, HEALTHY = 3 * 1.1 + BUSY, 2 * 2.2 + BUSY
# Connects to a host that has vanished: three seconds until a client comes that needs one.
UNREACHABLE = 3 + CONNECT + BUSY
# A list is asked for again after its TTL, and 30 s after a failure; 20 % for jitter.
LISTED, LISTED_AFTER_FAILURE = TTL * 1.2 + BUSY, 30 * 1.2 + BUSY
# A lookup waits for a part of the connect timeout, then uses the last addresses.
LOOKUP = CONNECT / 2 + BUSY
# Two health checks of the load balancer, one each 0.3 s.
BALANCED = 2 * 0.3 + BUSY
# The spread of a drain, and that of moves.
DRAINED, MOVE_SPREAD = 2 + BUSY, 1
# From the signal to a gateway until it accepts no more connections.
DYING = 1.0
# The longest wait for an echo beside a fault, and behind a lossy network.
HITCH, LOSSY_HITCH = 3.0, 6.0


class Losses:
    """The WebSockets that were lost since an event began."""

    def __init__(self, lost):
        self.began, self.lost, self.mark = kit.clock(), lost, len(lost)

    def all(self):
        return self.lost[self.mark :]

    def took(self):
        return max((one.at - self.began for one in self.all()), default=0)

    def codes(self):
        return {one.code for one in self.all()}


class Story:
    """A fleet under load, and what has happened to it."""

    def __init__(self, suite, fleet, load):
        self.suite, self.fleet, self.load = suite, fleet, load
        # The home of each room, and the rooms that may have two until their clients have left.
        self.homes, self.restless = {}, set()

    def check(self, fine, name, what):
        return self.suite.check(fine, f"{name}: {what}")

    def within(self, took, bound, name, what):
        shown = "not" if took is None else f"after {took:.2f} s"
        self.check(took is not None and took < bound, name, f"{what} {shown}, {bound:.2f} s allowed")

    @contextlib.asynccontextmanager
    async def event(self, name, gateways=(), upstreams=(), pairs=(), cuts_handshakes=False, hitch=HITCH):
        """An event that may cost the WebSockets of these gateways, upstreams and pairs, and no other; and
        no handshake, but for those in progress at its begin if it cuts them."""
        load = self.load
        touched = {*upstreams, *(upstream for _, upstream in pairs)}
        self.restless |= {room for room, home in self.homes.items() if home & touched}
        marks = [len(each) for each in (load.refused, load.waits, load.damaged)]
        losses = Losses(load.lost)

        def is_touched(one):
            host = one.gateway.partition("-")[0]
            return host in gateways or one.upstream in upstreams or (host, one.upstream) in pairs

        yield losses
        self.check(await load.full(kit.SOON) is not None, name, "every client has a WebSocket")
        lost, (turned_away, waits, damaged) = losses.all(), [
            each[mark:] for each, mark in zip((load.refused, load.waits, load.damaged), marks)
        ]  # fmt: skip
        needless = [one for one in lost if not is_touched(one)]
        in_progress = [why for began, why in turned_away if cuts_handshakes and began < losses.began + DYING]
        waited = max((one.took for one in waits), default=0)
        two = load.with_two_homes()
        strangers = {room: homes for room, homes in two.items() if room not in self.restless}
        self.check(
            not needless and not damaged, name,
            f"{len(lost)} clients lost, {len(needless)} needlessly {needless[:3]}, {len(damaged)} messages damaged {damaged[:3]}",
        )  # fmt: skip
        self.check(
            len(turned_away) == len(in_progress) and waited < hitch, name,
            f"{len(turned_away)} handshakes refused, {len(in_progress)} in progress {turned_away[:3]}, "
            f"waits of {waited:.2f} s, {hitch:.2f} s allowed",
        )  # fmt: skip
        self.check(not strangers, name, f"{len(two)} rooms with two homes, {len(self.restless)} allowed {strangers}")

    async def choose(self, name):
        """Checks that each room has one home, at all gateways; returns the homes."""
        chosen = await self.load.chosen()
        split = {room: homes for room, homes in chosen.items() if len(homes) > 1}
        whole = len(chosen) == ROOMS and not split
        self.check(whole, name, f"new clients of {len(split)} rooms get two homes {split}")
        return chosen

    async def choose_again(self, name):
        """As `choose`, after a change of the list; returns the rooms that moved."""
        before, self.homes = self.homes, await self.choose(name)
        moved = {room for room in before if before[room] != self.homes.get(room)}
        self.restless |= moved
        return before, moved

    async def settle(self, name):
        """When all have left who came before, each room has one home."""
        began, bound = kit.clock(), STAY[1] + PAUSE + BUSY
        while any(client.since < began for client in self.load.open) and kit.clock() - began < bound:
            await asyncio.sleep(0.1)
        two = self.load.with_two_homes()
        self.check(not two, name, f"{len(two)} rooms with two homes after {kit.clock() - began:.1f} s {two}")
        self.restless.clear()

    async def until_left(self, upstream, bound):
        """Waits until no client has a WebSocket there."""
        began = kit.clock()
        while clients_of(self.load, upstream=upstream) and kit.clock() - began < bound:
            await asyncio.sleep(0.05)
        return not clients_of(self.load, upstream=upstream)


def clients_of(load, gateway="", upstream=None):
    return sum(client.gateway.startswith(gateway) and upstream in (None, client.upstream) for client in load.open)


async def upstream_restarts(story, upstream):
    name = f"{upstream} is killed and starts again"
    fleet, load = story.fleet, story.load
    async with story.event(name, upstreams=[upstream]) as lost:
        there = clients_of(load, upstream=upstream)
        await fleet.kill(upstream)
        unhealthy = await fleet.until(lambda states: states[upstream] != "healthy", UNHEALTHY)
        story.within(unhealthy, UNHEALTHY, name, "all gateways know it")
        await story.until_left(upstream, BUSY)
        await load.full(kit.SOON)
        story.within(lost.took(), BUSY, name, f"{len(lost.all())} clients of {there} know it")
        story.check(lost.codes() == {1011}, name, f"with the codes {lost.codes()}")
        # All gateways choose the same one instead.
        two = {room for room in load.with_two_homes() if story.homes[room] == {upstream}}
        story.check(not two, name, f"{len(two)} of its rooms have two homes while it is away")
        await fleet.start_upstream(upstream)
        back = await fleet.until(lambda states: states[upstream] == "healthy", HEALTHY)
        story.within(back, HEALTHY, name, "all gateways use it again")


async def gateway_is_killed(story, host):
    name = f"{host} is killed"
    fleet, load = story.fleet, story.load
    async with story.event(name, gateways=[host], cuts_handshakes=True) as lost:
        there = clients_of(load, gateway=host)
        await fleet.end_gateway(host)
        await load.full(kit.SOON)
        story.within(lost.took(), BUSY, name, f"{len(lost.all())} clients of {there} know it")
        await new_life(story, name, host)


async def new_life(story, name, host):
    """The gateway starts again, and the load balancer finds it."""
    await story.fleet.start_gateway(host)
    began, took = kit.clock(), None
    while took is None and kit.clock() - began < kit.SOON:
        if await story.load.visit(0) == story.fleet.gateways[host].name:
            took = kit.clock() - began
    story.within(took, BALANCED, name, "the new gateway has clients")


async def gateway_is_drained(story, host, balancer_first):
    name = f"{host} is drained, {'the load balancer first' if balancer_first else 'found by its readiness'}"
    fleet, load = story.fleet, story.load
    # Connections that wait to be accepted are reset.
    async with story.event(name, gateways=[host], cuts_handshakes=not balancer_first) as lost:
        there = clients_of(load, gateway=host)
        if balancer_first:
            await fleet.balance(host, "drain")
        code = await fleet.end_gateway(host, signal.SIGTERM)
        story.check(code == 0, name, f"exit code {code}")
        await load.full(kit.SOON)
        story.within(lost.took(), DRAINED, name, f"{len(lost.all())} clients of {there} get a close frame")
        story.check(lost.codes() == {1001}, name, f"with the codes {lost.codes()}")
        if balancer_first:
            await fleet.balance(host, "ready")
        await new_life(story, name, host)


async def upstream_is_listed(story, upstream, bound=LISTED):
    name = f"{upstream} gets an SRV record"
    fleet = story.fleet
    async with story.event(name):
        await fleet.start_upstream(upstream)
        await fleet.list_upstreams(*fleet.listed, upstream)
        took = await fleet.until(lambda states: upstream in states, bound)
        story.within(took, bound, name, "all gateways know it")
        _, moved = await story.choose_again(name)
        strangers = {room for room in moved if story.homes[room] != {upstream}}
        # A sixth of them is 10. The homes are the same in each run.
        few = 0 < len(moved) <= 20 and not strangers
        story.check(few, name, f"{len(moved)} of {ROOMS} rooms move, {len(strangers)} of them elsewhere")


async def upstream_is_unlisted(story, upstream):
    """Its clients stay until it stops."""
    name = f"{upstream} loses its SRV record"
    fleet = story.fleet
    async with story.event(name):
        await unlist(story, name, upstream)
    async with story.event(f"{name}, and stops", upstreams=[upstream]):
        await fleet.kill(upstream)


async def unlist(story, name, upstream):
    fleet = story.fleet
    await fleet.list_upstreams(*(one for one in fleet.listed if one != upstream))
    took = await fleet.until(lambda states: upstream not in states, LISTED)
    story.within(took, LISTED, name, "all gateways know it")
    before, moved = await story.choose_again(name)
    theirs = {room for room in before if before[room] == {upstream}}
    story.check(moved == theirs, name, f"{len(moved)} rooms move, {len(moved ^ theirs)} of them needlessly")


async def partition(story, host, upstreams):
    name = f"{host} is cut off from {' and '.join(upstreams)}"
    fleet, load = story.fleet, story.load
    async with story.event(name, pairs=[(host, upstream) for upstream in upstreams]) as lost:
        there = sum(clients_of(load, host, upstream) for upstream in upstreams)
        for upstream in upstreams:
            fleet.net.between(host, upstream, net.DROP)
        cut = await fleet.until(lambda states: "healthy" not in map(states.get, upstreams), UNREACHABLE, [host])
        story.within(cut, UNREACHABLE, name, "the gateway knows it")
        await asyncio.sleep(lost.began + VANISHED - kit.clock())
        story.within(lost.took(), VANISHED, name, f"{len(lost.all())} clients of {there} know it")
        story.check(lost.codes() == {1011}, name, f"with the codes {lost.codes()}")
        fleet.net.heal()
        back = await fleet.until(lambda states: {*map(states.get, upstreams)} == {"healthy"}, HEALTHY, [host])
        story.within(back, HEALTHY, name, "the gateway uses them again")
        await story.choose(name)


async def lossy(story, host, upstreams):
    name = f"{host} loses 5 % of its packets to and from {' and '.join(upstreams)}, the others are late"
    fleet = story.fleet
    async with story.event(name, hitch=LOSSY_HITCH) as lost:
        # A connect that loses its packets again and again goes on to another upstream.
        story.restless |= {room for room, home in story.homes.items() if home & {*upstreams}}
        for upstream in upstreams:
            fleet.net.between(host, upstream, net.LOSE)
        fleet.net.hold_up(host, upstreams, delay=0.03, jitter=0.02)
        await asyncio.sleep(10)
        packets, late = fleet.net.packets(), fleet.net.late
        shown = f"{packets} packets lost, {late.packets} late, {late.overtaken} overtaken"
        story.check(packets > 10 and late.overtaken > 10 and not lost.all(), name, shown)
        fleet.net.heal()


async def dns_fails(story):
    """The upstreams stay where they were, whatever becomes of the DNS server."""
    fleet = story.fleet

    async def signaled(number):
        fleet.programs["dns"].process.send_signal(number)

    async def restart(with_zone):
        await fleet.kill("dns")
        await fleet.start_dns(with_zone)

    listed = fleet.listed
    for what, begin, end in [
        ("is silent", lambda: signaled(signal.SIGSTOP), lambda: signaled(signal.SIGCONT)),
        ("is gone", lambda: fleet.kill("dns"), fleet.start_dns),
        ("has no zone (SERVFAIL)", lambda: restart(False), lambda: restart(True)),
        ("lists nothing", fleet.list_upstreams, lambda: fleet.list_upstreams(*listed)),
    ]:
        name, mark = f"the DNS server {what}", len(story.load.opened)
        async with story.event(name):
            await begin()
            await asyncio.sleep(4)
            await end()
            opened = story.load.opened[mark:]
            slowest = max(one.took for one in opened)
            story.within(slowest, LOOKUP, name, f"the slowest of {len(opened)} handshakes is over")


async def counts_agree(story):
    """Prometheus has counted what the clients have: at the end exactly, and at each scrape."""
    load, lives = story.load, story.fleet.lives
    await load.quiet()
    # Two scrapes.
    await asyncio.sleep(2.5)
    drained = [one for one in load.closed if one.code == 1001]
    for what, query, records, apart in [
        ("handshakes", 'wsplice_handshakes_total{outcome="accepted"}', load.opened, BUSY),
        # An end is counted when both legs have ended; one may have vanished.
        ("ends", 'wsplice_tunnels_closed_total{pool="main"}', load.closed, VANISHED),
        ("ends by a drain", 'wsplice_tunnels_closed_total{end="drained"}', drained, BUSY),
    ]:
        counts = [await count(story.fleet, query, records, life, apart) for life in lives]
        wrong = [life.name for life, (_, _, wrong) in zip(lives, counts) if wrong]
        scrapes = sum(number for number, _, _ in counts)
        running = [difference for life, (_, difference, _) in zip(lives, counts) if life.is_running()]
        story.check(
            not wrong and not any(running), "the figures of Prometheus",
            f"{len(records)} {what}; at the end the running gateways differ by {running}, "
            f"and {scrapes} scrapes of all lives agree but for {wrong}",
        )  # fmt: skip
    tunnels = [(await story.fleet.samples('wsplice_tunnels{pool="main"}', host))[-1][1] for host in GATEWAYS]
    shown = f"{sum(tunnels):.0f} open tunnels, {len(load.open)} at the clients"
    story.check(sum(tunnels) == len(load.open), "the figures of Prometheus", shown)


async def count(fleet, query, records, life, apart):
    """Of one life of a gateway: the number of scrapes, by how much the last one differs from what the
    clients have counted, and the scrapes that differ though events `apart` seconds off are left open."""
    samples = [s for s in await fleet.samples(query, life.host) if life.began <= s[0] < life.ended]
    times = [record.at for record in records if record.gateway == life.name]
    wrong = [
        (at, value) for at, value in samples
        if not sum(t < at - apart for t in times) <= value <= sum(t < at + apart for t in times)
    ]  # fmt: skip
    last = samples[-1][1] if samples else 0
    return len(samples), int(last) - len(times), wrong


async def each_fault(suite):
    async with Fleet() as fleet, Load(fleet, CLIENTS, ROOMS, repeats=False) as load:
        story = Story(suite, fleet, load)
        story.homes = await story.choose("at first")
        async with story.event("nothing happens"):
            await asyncio.sleep(3)
        for upstream in UPSTREAMS[:5]:
            await upstream_restarts(story, upstream)
        await story.settle("after all restarts")
        await gateway_is_killed(story, "g1")
        await gateway_is_drained(story, "g2", balancer_first=True)
        await gateway_is_drained(story, "g3", balancer_first=False)
        await upstream_is_listed(story, "u6")
        await upstream_is_unlisted(story, "u6")
        await story.settle("after the changes of SRV records")
        await partition(story, "g3", ("u1", "u2"))
        await story.settle("after the partition")
        await lossy(story, "g2", ("u3", "u4"))
        await story.settle("after the losses")
        await dns_fails(story)
        await upstream_is_listed(story, "u6", LISTED_AFTER_FAILURE)
        await story.settle("in the end")
        await counts_agree(story)


async def with_reattachment(suite):
    """Clients keep their WebSockets when upstreams are killed or leave the list."""
    options = ("--reattach=10s", f"--move-spread={MOVE_SPREAD}s")
    async with Fleet(*options) as fleet, Load(fleet, CLIENTS // 2, ROOMS, repeats=True) as load:
        story = Story(suite, fleet, load)
        story.homes = await story.choose("with reattachment")
        name = "with reattachment, u1 is killed"
        async with story.event(name, hitch=2 * AGAIN + BUSY) as lost:
            moving = asyncio.create_task(all_moved(story, name, "u1", lost))
            await fleet.kill("u1")
            await moving
            await story.settle(name)
        name = "with reattachment, u1 starts again"
        async with story.event(name, upstreams=["u1"]) as lost:
            await fleet.start_upstream("u1")
            back = await fleet.until(lambda states: states["u1"] == "healthy", HEALTHY)
            story.within(back, HEALTHY, name, "all gateways use it again")
            story.check(not lost.all(), name, f"{len(lost.all())} clients lost")
        name = "with reattachment, u2 loses its SRV record"
        async with story.event(name, hitch=2 * AGAIN + BUSY) as lost:
            moving = asyncio.create_task(all_moved(story, name, "u2", lost))
            await unlist(story, name, "u2")
            await moving
        await story.settle("with reattachment, in the end")


async def all_moved(story, name, upstream, lost):
    """Checks that all clients leave an upstream and keep their WebSockets."""
    there, bound = clients_of(story.load, upstream=upstream), LISTED + MOVE_SPREAD + AGAIN + BUSY
    took = kit.clock() - lost.began if await story.until_left(upstream, bound) else None
    story.within(took, bound, name, f"{there} clients are elsewhere, {len(lost.all())} lost,")
    shown = f"{story.load.moved} clients moved, {story.load.repeated} messages repeated"
    story.check(not lost.all() and story.load.moved, name, shown)


async def main():
    suite = kit.Suite("a fleet of real parts")
    if reason := net.missing():
        suite.skip(reason)
        return 0
    await each_fault(suite)
    await with_reattachment(suite)
    return suite.end()


kit.run(main)
