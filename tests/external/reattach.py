"""Compressed messages stay intact while the upstream is killed and restarted.

Python's websockets is client and server, in each combination of context takeover. The client asks
numbered questions, whose answers must be exact: an inflater with the wrong window fails at once.
"""

import asyncio
import itertools
import os

import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

import kit

RESTARTS = 6
QUESTIONS = 5

# Time after which a question is asked again, which its upstream may have taken to its end.
AGAIN = 1


class Upstream:
    """A server that can be killed, and starts again at its port."""

    def __init__(self, server_forgets, client_forgets):
        self.extension = ServerPerMessageDeflateFactory(server_forgets, client_forgets)
        self.port = self.generation = 0

    async def start(self):
        self.generation += 1
        self.server = await websockets.serve(
            self.answer, "127.0.0.1", self.port, extensions=[self.extension], ping_interval=None
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def answer(self, socket):
        generation = self.generation
        await socket.send(f"welcome {generation} " + text(generation))
        async for question in socket:
            await socket.send(f"answer of {generation} to {question}")

    async def kill(self):
        connections = list(self.server.connections)
        self.server.close(close_connections=False)
        for connection in connections:
            connection.transport.abort()
        await self.server.wait_closed()


def text(number):
    """A text with much to refer back to."""
    return " ".join(f"{number * word % 97} sheep" for word in range(200))


class Client:
    """Asks, and notes the upstreams that it has heard of."""

    def __init__(self, socket):
        self.socket, self.generations, self.repeated = socket, [], 0

    async def ask(self, question):
        """The generation of the upstream that has answered the question exactly."""
        await self.socket.send(question)
        while True:
            try:
                message = await asyncio.wait_for(self.socket.recv(), AGAIN)
            except TimeoutError:
                self.repeated += 1
                await self.socket.send(question)
                continue
            words = message.split(" ", 2)
            if words[0] == "welcome":
                generation = int(words[1])
                if words[2] != text(generation):
                    raise ValueError(f"another welcome: {message[:80]}")
                self.generations.append(generation)
                continue
            start, _, answered = message.partition(" to ")
            if answered == question:
                return int(start.removeprefix("answer of "))
            if not answered.startswith("question "):
                raise ValueError(f"another answer: {message[:80]}")


async def combination(suite, server_forgets, client_forgets):
    name = f"server {'forgets' if server_forgets else 'keeps'}, client {'forgets' if client_forgets else 'keeps'}"
    upstream = Upstream(server_forgets, client_forgets)
    await upstream.start()
    gateway = await kit.Program.start(
        os.environ["GATEWAY"],
        "--listen=127.0.0.1:0",
        f"--upstream=ws://127.0.0.1:{upstream.port}",
        "--reattach=10s",
        f"--reattach-limit={RESTARTS}",
    )
    async with gateway:
        address = (await gateway.line("listening on http://")).rstrip("/")
        extension = ClientPerMessageDeflateFactory(server_forgets, client_forgets)
        async with websockets.connect(
            f"ws://{address}/ws/room", extensions=[extension], ping_interval=None
        ) as socket:
            agreed = socket.response.headers["Sec-WebSocket-Extensions"]
            suite.check("client_no_context_takeover" in agreed, f"{name}: agreed on {agreed}")
            client = Client(socket)
            for restart in range(RESTARTS + 1):
                if restart:
                    await upstream.kill()
                    await upstream.start()
                for number in range(QUESTIONS):
                    question = f"question {restart} {number} " + text(number)
                    answered = await asyncio.wait_for(client.ask(question), kit.SOON)
                    if answered != upstream.generation:
                        raise ValueError(f"answered by {answered}, not {upstream.generation}")
                    suite.count(1)
            wanted = list(range(1, RESTARTS + 2))
            suite.check(
                client.generations == wanted,
                f"{name}: one socket over {RESTARTS} restarts, {client.repeated} questions repeated",
            )
    await upstream.kill()


async def main():
    suite = kit.Suite("compressed messages over restarts of the upstream")
    for forgets in itertools.product([False, True], repeat=2):
        await combination(suite, *forgets)
    return suite.end()


kit.run(main)
