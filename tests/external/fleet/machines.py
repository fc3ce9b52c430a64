"""Upstreams and gateways are killed, drained and started again."""

import signal

import kit
from fleet.story import BALANCED, BUSY, DRAINED, HEALTHY, UNHEALTHY, clients_of


async def upstream_restarts(story, upstream):
    name = f"{upstream} is killed and starts again"
    fleet, load = story.fleet, story.load
    async with story.event(name, upstreams=[upstream]) as lost:
        there = clients_of(load, upstream=upstream)
        await fleet.kill(upstream)
        unhealthy = await fleet.until(lambda states: states[upstream] != "healthy", UNHEALTHY)
        story.within(unhealthy, UNHEALTHY, name, "all gateways know it")
        await story.until_left(BUSY, upstream=upstream)
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
        await story.until_left(BUSY, gateway=host)
        await load.full(kit.SOON)
        story.within(lost.took(), BUSY, name, f"{len(lost.all())} clients of {there} know it")
        story.check(lost.codes() == {1006}, name, f"with the codes {lost.codes()}")
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
        await story.until_left(BUSY, gateway=host)
        await load.full(kit.SOON)
        story.within(lost.took(), DRAINED, name, f"{len(lost.all())} clients of {there} get a close frame")
        story.check(lost.codes() == {1001}, name, f"with the codes {lost.codes()}")
        if balancer_first:
            await fleet.balance(host, "ready")
        await new_life(story, name, host)
