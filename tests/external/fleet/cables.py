"""Hosts are cut off from one another, and packets are lost or late."""

import asyncio

import kit
import net
from fleet.story import HEALTHY, LOSSY_HITCH, UNREACHABLE, VANISHED, clients_of


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
