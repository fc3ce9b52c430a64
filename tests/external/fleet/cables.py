"""Hosts are cut off from one another, and packets are lost or late."""

import asyncio
import subprocess

import kit
import net
from fleet.story import (
    BALANCED, BUSY, CUT_OFF, HEALTHY, LOSSY_HITCH, OUTAGE, OUTAGE_HITCH, REDIRECTED, UNBALANCED, UNREACHABLE, VANISHED,
    clients_of,
)  # fmt: skip


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


async def lossy(story, host, others):
    """Some upstreams of a gateway, or its load balancer, are behind a bad network."""
    name = f"{host} loses 5 % of its packets to and from {' and '.join(others)}, the others are late"
    fleet, mark = story.fleet, len(story.load.opened)
    async with story.event(name, hitch=LOSSY_HITCH) as lost:
        # A connect that loses its packets again and again goes on to another upstream.
        story.restless |= {room for room, home in story.homes.items() if home & {*others}}
        for other in others:
            fleet.net.between(host, other, net.LOSE)
        fleet.net.hold_up(host, others, delay=0.03, jitter=0.02)
        await asyncio.sleep(10)
        packets, late = fleet.net.packets(), fleet.net.late
        shown = f"{packets} packets lost, {late.packets} late, {late.overtaken} overtaken"
        story.check(packets > 10 and late.overtaken > 10 and not lost.all(), name, shown)
        story.slowest_within(LOSSY_HITCH, mark, name)
        fleet.net.heal()
    await balanced_again(story, name, host)


async def slow(story, host):
    """A cable that carries less than a gateway's clients, upstreams and scrapes want to send at times."""
    name = f"the cable of {host} carries {net.SLOW} each way"
    fleet, mark = story.fleet, len(story.load.opened)
    async with story.event(name, hitch=LOSSY_HITCH) as lost:
        try:
            fleet.net.slow_down(host)
        except subprocess.CalledProcessError as error:
            story.suite.skip(f"{name}: {error.stderr.strip()}")
            return
        await asyncio.sleep(8)
        held = fleet.net.speed_up(host)
        story.check(held > 100 and not lost.all(), name, f"{held} packets held up")
        story.slowest_within(LOSSY_HITCH, mark, name)
    await balanced_again(story, name, host)


async def outage(story, host):
    """The load balancer and a gateway are cut off from one another for less than the pong timeout: TCP
    sends again what was lost, and each client keeps its WebSocket."""
    name = f"{host} and the load balancer are cut off from one another for {OUTAGE} s"
    fleet, load = story.fleet, story.load
    async with story.event(name, hitch=OUTAGE_HITCH) as lost:
        there, mark = clients_of(load, host), len(load.opened)
        fleet.net.between("balancer", host, net.DROP)
        await asyncio.sleep(OUTAGE)
        packets = fleet.net.packets()
        fleet.net.heal()
        # Until whatever was sent during the outage has arrived.
        await asyncio.sleep(OUTAGE_HITCH - OUTAGE)
        story.check(there and packets, name, f"{packets} packets of {there} clients lost")
        story.check(not lost.all(), name, f"{len(lost.all())} clients lost")
        story.slowest_within(OUTAGE_HITCH, mark, name)
    await balanced_again(story, name, host)


async def split(story, host):
    """They are cut off from one another for longer: both give the clients up, which go elsewhere."""
    name = f"{host} and the load balancer are cut off from one another"
    fleet, load = story.fleet, story.load
    async with story.event(name, gateways=[host], cuts_handshakes=True) as lost:
        there, mark = clients_of(load, host), len(load.opened)
        before = [await fleet.blamed(host, side) for side in ("client", "upstream")]
        fleet.net.between("balancer", host, net.DROP)
        noticed = await fleet.until_balanced(host, False, UNBALANCED)
        story.within(noticed, UNBALANCED, name, "the load balancer notices it")
        left = await fleet.until_empty(host, VANISHED)
        story.within(left and kit.clock() - lost.began, VANISHED, name, "the gateway has ended their tunnels")
        # A handshake in progress gives up then; its gateway may have accepted it.
        await asyncio.sleep(lost.began + kit.SOON - kit.clock())
        story.within(lost.took(), CUT_OFF, name, f"{len(lost.all())} clients of {there} know it")
        story.check(lost.codes() == {1006}, name, f"with the codes {lost.codes()}")
        clients = await fleet.blamed(host, "client") - before[0]
        upstreams = await fleet.blamed(host, "upstream") - before[1]
        shown = f"{clients} ends put down to clients, {upstreams} to upstreams"
        story.check(clients and not upstreams, name, shown)
        story.check(await load.full(BUSY) is not None, name, "every client has a WebSocket elsewhere")
        story.slowest_within(REDIRECTED, mark, name)
        fleet.net.heal()
        await balanced_again(story, name, host)
    story.unheard[fleet.gateways[host].name] = lost.in_progress


async def balanced_again(story, name, host):
    back = await story.fleet.until_balanced(host, True, BALANCED)
    story.within(back, BALANCED, name, "the load balancer uses the gateway")
