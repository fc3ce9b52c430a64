"""The SRV records of the upstreams change, and the DNS server fails."""

import asyncio
import signal

from fleet.story import LISTED, LOOKUP, ROOMS


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
            story.slowest_within(LOOKUP, mark, name)
