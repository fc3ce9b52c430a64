"""An upstream with rooms: greets each client with its own name and what came with the handshake, and
sends every message back.

    room_server.py <name> <host:port>

Prints `listening`, and `closed <path> <code> <reason>` for each end that it saw.
"""

import asyncio
import sys

import websockets


async def serve(name, host, port):
    async def room(socket):
        headers = socket.request.headers
        gateway = headers.get("Via", "-").split()[-1]
        path = socket.request.path.partition("?")[0]
        try:
            await socket.send(f"hello {name} {gateway} {headers.get('X-Forwarded-For', '-')}")
            async for message in socket:
                await socket.send(message)
        except websockets.ConnectionClosed:
            pass
        print("closed", path, socket.close_code, socket.close_reason, flush=True)

    options = {"ping_interval": None, "max_size": None, "compression": None, "close_timeout": 2}
    async with websockets.serve(room, host, port, **options):
        print("listening", flush=True)
        await asyncio.Future()


name, address = sys.argv[1:]
host, _, port = address.rpartition(":")
asyncio.run(serve(name, host, int(port)))
