"""A fleet of real parts under load, and one fault after another.

HAProxy balances TCP connections over three gateways, which find five or six upstreams by the SRV records
of a DNS server (knot) and send all clients of a room to the same one; Prometheus scrapes the gateways.
Each part is a host of its own in a network of namespaces. What is counted has a bound: clients that lose
their WebSocket though neither their gateway nor their upstream was touched, the time to notice, rooms
with two homes, and handshakes that are refused.
"""

import asyncio
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import kit
import net
from fleet.cables import lossy, outage, partition, slow, split
from fleet.figures import counts_agree
from fleet.load import AGAIN, Load
from fleet.machines import gateway_is_drained, gateway_is_killed, upstream_restarts
from fleet.parts import UPSTREAMS, Fleet
from fleet.records import dns_fails, unlist, upstream_is_listed, upstream_is_unlisted
from fleet.story import BUSY, CLIENTS, HEALTHY, LISTED, LISTED_AFTER_FAILURE, MOVE_SPREAD, ROOMS, Story, clients_of


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
        await outage(story, "g1")
        await split(story, "g2")
        await lossy(story, "g3", ["balancer"])
        await slow(story, "g1")
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
    there, before = clients_of(story.load, upstream=upstream), story.load.moved
    bound = LISTED + MOVE_SPREAD + AGAIN + BUSY
    took = kit.clock() - lost.began if await story.until_left(bound, upstream=upstream) else None
    story.within(took, bound, name, f"{there} clients are elsewhere, {len(lost.all())} lost,")
    moved = story.load.moved - before
    shown = f"{moved} clients moved, {story.load.repeated} messages repeated so far"
    story.check(there and moved and not lost.all(), name, shown)


async def main():
    suite = kit.Suite("a fleet of real parts")
    if reason := net.missing() or net.cannot_hold_up():
        suite.skip(reason)
        return 0
    await each_fault(suite)
    await with_reattachment(suite)
    return suite.end()


kit.run(main)
