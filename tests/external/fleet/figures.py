"""What Prometheus has counted, and what the clients have."""

import time

import kit
from fleet.parts import GATEWAYS
from fleet.story import BUSY, VANISHED


async def counts_agree(story):
    """Prometheus has counted what the clients have: at the end exactly, and at each scrape."""
    load, lives = story.load, story.fleet.lives
    await load.quiet()
    scraped = await story.fleet.until_scraped(time.time(), kit.SOON)
    story.within(scraped, kit.SOON, "the figures of Prometheus", "all gateways are scraped once more")
    drained = [one for one in load.closed if one.code == 1001]
    for what, query, records, apart in [
        ("handshakes", 'wsplice_handshakes_total{outcome="accepted"}', load.opened, BUSY),
        # An end is counted when both legs have ended; one may have vanished.
        ("ends", 'wsplice_tunnels_closed_total{pool="main"}', load.closed, VANISHED),
        ("ends by a drain", 'wsplice_tunnels_closed_total{end="drained"}', drained, BUSY),
    ]:
        counts = [await count(story, query, records, life, apart) for life in lives]
        wrong = [life.name for life, (_, _, wrong) in zip(lives, counts) if wrong]
        scrapes = sum(number for number, _, _ in counts)
        running = {life: difference for life, (_, difference, _) in zip(lives, counts) if life.is_running()}
        fine = all(0 <= running[life] <= story.unheard.get(life.name, 0) for life in running)
        story.check(
            not wrong and fine, "the figures of Prometheus",
            f"{len(records)} {what}; at the end the running gateways differ by {[*running.values()]}, "
            f"and {scrapes} scrapes of all lives agree but for {wrong}",
        )  # fmt: skip
    tunnels = [(await story.fleet.samples('wsplice_tunnels{pool="main"}', host))[-1][1] for host in GATEWAYS]
    shown = f"{sum(tunnels):.0f} open tunnels, {len(load.open)} at the clients"
    story.check(sum(tunnels) == len(load.open), "the figures of Prometheus", shown)


async def count(story, query, records, life, apart):
    """Of one life of a gateway: the number of scrapes, by how much the last one differs from what the
    clients have counted, and the scrapes that differ though events `apart` seconds off are left open."""
    samples = [s for s in await story.fleet.samples(query, life.host) if life.began <= s[0] < life.ended]
    mine = [record for record in records if record.gateway == life.name]
    unheard = story.unheard.get(life.name, 0)
    wrong = [
        (at, value) for at, value in samples
        if not sum(one.at < at - apart for one in mine) <= value <= sum(one.began < at + apart for one in mine) + unheard
    ]  # fmt: skip
    last = samples[-1][1] if samples else 0
    return len(samples), int(last) - len(mine), wrong
