"""One party of a tunnel, that can be stopped or cut off.

    peer.py server <host:port>
    peer.py client <host:port> [chatty]

Prints `listening <address>`, `open`, and `closed <code> <reason>` once it knows how its connection
ended (1006: without a close frame). A chatty client sends a message every 50 ms. Nobody pings.
"""

import asyncio
import sys

import websockets

QUIET = {"ping_interval": None, "close_timeout": 2}


def say(*words):
    print(*words, flush=True)


async def stay(socket, chatty=False):
    say("open")

    async def chat():
        while True:
            await socket.send("still here")
            await asyncio.sleep(0.05)

    talking = asyncio.create_task(chat()) if chatty else None
    try:
        async for _ in socket:
            pass
    except websockets.ConnectionClosed:
        pass
    if talking:
        talking.cancel()
    say("closed", socket.close_code, socket.close_reason)


async def main(role, address, *rest):
    host, _, port = address.rpartition(":")
    if role == "server":
        async with websockets.serve(stay, host, int(port), **QUIET) as server:
            say("listening %s:%d" % server.sockets[0].getsockname()[:2])
            await asyncio.Future()
    async with websockets.connect(f"ws://{address}/", **QUIET) as socket:
        await stay(socket, "chatty" in rest)


asyncio.run(main(*sys.argv[1:]))
