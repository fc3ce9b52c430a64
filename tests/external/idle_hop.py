"""A hop that cuts quiet connections: a tunnel through it lives with keep-alive, and dies without.

The hop is a TCP relay that resets both its connections once either direction has carried nothing
for two seconds. It stands between the client and the proxy, or between the proxy and the upstream.
Only the proxy sends pings.
"""

import asyncio
import socket
import struct

import websockets

import kit

IDLE = 2.0
INTERVAL = 500
QUIET = 7.0


class Hop:
    """The relay, in front of `address`."""

    async def start(self, address):
        self.host, _, self.port = address.rpartition(":")
        self.cuts = []
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def relay(self, near_in, near_out):
        far_in, far_out = await asyncio.open_connection(self.host, self.port)
        began = kit.clock()

        async def pump(source, sink):
            while data := await asyncio.wait_for(source.read(65536), IDLE):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(near_in, far_out), pump(far_in, near_out))
        except asyncio.TimeoutError:
            self.cuts.append(kit.clock() - began)
            for sink in (near_out, far_out):
                reset(sink)
        except OSError:
            for sink in (near_out, far_out):
                sink.transport.abort()


def reset(writer):
    if not writer.transport.is_closing():
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def scenario(suite, leg, interval):
    served = asyncio.get_running_loop().create_future()

    async def echo(socket):
        try:
            async for message in socket:
                await socket.send(message)
        finally:
            served.cancelled() or served.set_result(socket.close_code)

    quiet = {"ping_interval": None, "close_timeout": 2}
    async with websockets.serve(echo, "127.0.0.1", 0, **quiet) as server:
        hop = Hop()
        upstream = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        if leg == "upstream":
            upstream = (await hop.start(upstream)).address
        async with await kit.Proxy.start(upstream, interval) as proxy:
            address = proxy.address
            if leg == "client":
                address = (await hop.start(address)).address
            async with websockets.connect(f"ws://{address}/", **quiet) as client:
                await client.send("before")
                assert await client.recv() == "before"
                await (lives if interval else dies)(suite, leg, hop, client, served)
            return await proxy.closed()


async def lives(suite, leg, hop, client, served):
    name = f"hop on the {leg} leg, keep-alive {INTERVAL} ms"
    await asyncio.sleep(QUIET)
    try:
        await client.send("after")
        answer = await asyncio.wait_for(client.recv(), kit.SOON)
    except (websockets.ConnectionClosed, asyncio.TimeoutError) as error:
        answer = repr(error)
    suite.check(answer == "after", f"{name}: after {QUIET} s of quiet the echo is {answer!r}")
    suite.check(not hop.cuts, f"{name}: {len(hop.cuts)} connections cut")
    await client.close()
    code = await asyncio.wait_for(served, kit.SOON)
    suite.check((client.close_code, code) == (1000, 1000), f"{name}: closed with {client.close_code}, {code}")


async def dies(suite, leg, hop, client, served):
    name = f"hop on the {leg} leg, no keep-alive"
    try:
        await asyncio.wait_for(client.wait_closed(), QUIET)
    except asyncio.TimeoutError:
        pass
    after = f"{hop.cuts[0]:.1f} s" if hop.cuts else "never"
    suite.check(len(hop.cuts) == 1, f"{name}: cut {after}")
    # The client is told only where a leg of its own is left; the upstream's is reset.
    want = 1006 if leg == "client" else 1011
    suite.check(client.close_code == want, f"{name}: the client sees {client.close_code}")
    code = await asyncio.wait_for(served, kit.SOON)
    suite.check(code == 1006, f"{name}: the upstream sees {code}")


async def main():
    suite = kit.Suite("a hop that cuts quiet connections after 2 s")
    scenarios = [(leg, interval) for leg in ("client", "upstream") for interval in (INTERVAL, 0)]
    ends = await asyncio.gather(*(scenario(suite, *one) for one in scenarios))
    for (leg, interval), end in zip(scenarios, ends):
        name = f"hop on the {leg} leg, interval {interval} ms"
        if interval:
            suite.check(end["end"] == "closed", f"{name}: reported as {end['end']!r}")
            for side in ("client", "upstream"):
                suite.check(int(end[f"{side}_pongs"]) >= 5, f"{name}: {end[f'{side}_pongs']} pongs of the {side}")
        else:
            blamed = end["initiator"] == leg and f"the {leg}'s connection broke" in end["end"]
            suite.check(blamed, f"{name}: reported as {end['end']!r}")
    return suite.end()


kit.run(main)
