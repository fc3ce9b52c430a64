"""What has happened to a fleet under load, and what each event may cost."""

import asyncio
import contextlib

import kit
from fleet.load import PAUSE, STAY
from fleet.parts import BALANCER_CONNECT, CHECK, CONNECT, TTL, UNACKNOWLEDGED

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
# Two health checks of the load balancer; those of a host that has vanished take as long as the pause
# between two.
BALANCED, UNBALANCED = 2 * CHECK + BUSY, 2 * (CHECK + CHECK) + BUSY
# The load balancer's own timeout, and at most a pause until a client sends what is not acknowledged.
CUT_OFF = UNACKNOWLEDGED + 1.2 * PAUSE + BUSY
# A connect of the load balancer to a host that has vanished, before it goes on to another one.
REDIRECTED = BALANCER_CONNECT + BUSY
# The spread of a drain, and that of moves.
DRAINED, MOVE_SPREAD = 2 + BUSY, 1
# From the signal to a gateway until it accepts no more connections.
DYING = 1.0
# The longest wait for an echo beside a fault, and behind a lossy network.
HITCH, LOSSY_HITCH = 3.0, 6.0
# A time without packets that is shorter than the pong timeout. TCP doubles the time after which it sends
# again, so a wait for an echo is at most twice as long.
OUTAGE = 2
OUTAGE_HITCH = 2 * OUTAGE + BUSY


class Losses:
    """The WebSockets that were lost since an event began."""

    def __init__(self, lost):
        self.began, self.lost, self.mark = kit.clock(), lost, len(lost)
        # Handshakes that were in progress at the begin, and were refused: known when the event is over.
        self.in_progress = 0

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
        # Handshakes that a gateway may have accepted without the client's knowledge, by its name.
        self.unheard = {}

    def check(self, fine, name, what):
        return self.suite.check(fine, f"{name}: {what}")

    def within(self, took, bound, name, what):
        shown = "not" if took is None else f"after {took:.2f} s"
        self.check(took is not None and took < bound, name, f"{what} {shown}, {bound:.2f} s allowed")

    def slowest_within(self, bound, mark, name):
        """Checks the handshakes from the `mark`-th on."""
        number = len(self.load.opened) - mark
        self.within(self.load.slowest(mark) if number else None, bound, name, f"the slowest of {number} handshakes is over")

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
        losses.in_progress = len(in_progress)
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

    async def until_left(self, bound, **where):
        """Waits until no client has a WebSocket there; `where` is what `clients_of` takes."""
        began = kit.clock()
        while clients_of(self.load, **where) and kit.clock() - began < bound:
            await asyncio.sleep(0.05)
        return not clients_of(self.load, **where)


def clients_of(load, gateway="", upstream=None):
    return sum(client.gateway.startswith(gateway) and upstream in (None, client.upstream) for client in load.open)
