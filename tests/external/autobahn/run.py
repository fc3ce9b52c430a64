"""Every case of the Autobahn test suite, directly and through the proxy: the same verdict.

    run.py            compares with autobahn-expected.tsv
    run.py --write    writes the verdicts of the direct connections there

Two parties are examined, each as server and as client: tungstenite, which speaks no extension, and
Python's websockets, which speaks permessage-deflate (cases 12.* and 13.*). The proxy pings both
legs of every tunnel that is quiet for 200 ms.
"""

import asyncio
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import websockets

import kit

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(os.path.dirname(HERE), "autobahn-expected.tsv")
OUT = os.path.abspath("target/external/autobahn")
FUZZ = (sys.executable, os.path.join(HERE, "fuzz.py"))
INTERVAL = 20
PARALLEL = 8
RETRIES = 2
# One round of all cases; it takes some ten seconds.
ROUND = 150
PARTIES = ["tungstenite server", "tungstenite client", "websockets server", "websockets client"]
ROUTES = ["direct", "proxied"]


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


SETTINGS = {"max_size": None, "ping_interval": None, "close_timeout": 5}


async def websockets_client(address, parallel):
    async with websockets.connect(f"ws://{address}/getCaseCount") as socket:
        count = int(await socket.recv())
    free = asyncio.Semaphore(parallel)

    async def run(path):
        async with free:
            try:
                async with websockets.connect(f"ws://{address}/{path}", **SETTINGS) as socket:
                    await echo(socket)
            except (OSError, websockets.WebSocketException):
                pass

    await asyncio.gather(*(run(f"runCase?case={n + 1}&agent=websockets") for n in range(count)))
    await run("updateReports?agent=websockets")


# A message and then a bad frame: whether websockets sends the echo before it closes is a race
# between two tasks of its own, on direct connections too.
RACE = re.compile(r"(3\.[2-4]|4\.[12]\.[3-5]|5\.15)$")


def settled(library, case, verdict):
    """The verdict, with what is left to chance named as such."""
    if library == "websockets" and RACE.match(case):
        return re.sub(r"^(OK|NON-STRICT)/", "OK or NON-STRICT/", verdict)
    return verdict


class Round:
    """Cases with one party, by one route: all of them, some at a time, or some, one by one."""

    def __init__(self, party, route, only=()):
        self.only = only
        self.parallel = 1 if only else PARALLEL
        self.library, self.role = party.split()
        self.route = route
        self.report = os.path.join(OUT, f"{party.replace(' ', '-')}-{route}.tsv")
        self.pongs = {"client": 0, "upstream": 0}

    async def run(self):
        if os.path.exists(self.report):
            os.remove(self.report)
        if self.role == "server":
            await self.against_server()
        else:
            await self.against_client()
        with open(self.report) as lines:
            verdicts = dict(line.rstrip("\n").split("\t") for line in lines)
        return {case: settled(self.library, case, verdict) for case, verdict in verdicts.items()}

    async def against_server(self):
        if self.library == "tungstenite":
            async with await kit.Program.start(os.path.join(kit.PEERS, "echo-server")) as server:
                await self.fuzz_server(await server.line("listening"))
        else:
            async with websockets.serve(echo, "127.0.0.1", 0, **SETTINGS) as server:
                await self.fuzz_server("127.0.0.1:%d" % server.sockets[0].getsockname()[1])

    async def fuzz_server(self, address):
        async def fuzz(address):
            args = ("client", self.report, f"ws://{address}", self.parallel, *self.only)
            async with await kit.Program.start(*FUZZ, *args) as fuzzer:
                await fuzzer.process.wait()

        await self.by_route(address, fuzz)

    async def against_client(self):
        async with await kit.Program.start(*FUZZ, "server", self.report, *self.only) as fuzzer:
            # It rewrites the modules of all cases first.
            await self.by_route(await fuzzer.line("listening", 60), self.fuzz_client)

    async def fuzz_client(self, address):
        if self.library == "websockets":
            return await websockets_client(address, self.parallel)
        args = (f"url=ws://{address}", f"parallel={self.parallel}")
        async with await kit.Program.start(os.path.join(kit.PEERS, "echo-client"), *args) as client:
            await client.process.wait()

    async def by_route(self, address, go):
        if self.route == "direct":
            return await asyncio.wait_for(go(address), ROUND)
        async with await kit.Proxy.start(address, INTERVAL) as proxy:
            await asyncio.wait_for(go(proxy.address), ROUND)
            for end in await proxy.all_closed():
                for leg in self.pongs:
                    self.pongs[leg] += int(end[f"{leg}_pongs"])


def expected():
    with open(EXPECTED) as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]
    return {row[0]: dict(zip(PARTIES, row[1:])) for row in rows}


def write(verdicts):
    with open(EXPECTED, "w") as out:
        out.write("# Verdicts of the cases on direct connections; written by autobahn/run.py --write\n")
        out.write("# case\t" + "\t".join(PARTIES) + "\n")
        for case in verdicts[PARTIES[0]]:
            out.write("\t".join([case, *(verdicts[party][case] for party in PARTIES)]) + "\n")


def unlike(verdicts, wanted, party):
    """The cases whose verdict is not the expected one."""
    want = {case: row[party] for case, row in wanted.items()}
    return [case for case in {**want, **verdicts} if verdicts.get(case) != want.get(case)]


async def compare(suite, wanted, party, route):
    started = kit.clock()
    round = Round(party, route)
    verdicts = await round.run()
    again = unlike(verdicts, wanted, party)
    for _ in range(RETRIES):
        if wrong := unlike(verdicts, wanted, party):
            verdicts.update(await Round(party, route, wrong).run())
    wrong = unlike(verdicts, wanted, party)
    for case in wrong:
        want = wanted.get(case, {}).get(party)
        suite.check(False, f"{party}, {route}: case {case}: {verdicts.get(case)}, not {want}")
    suite.count(len(wanted) - len(wrong))
    print(f"       {party}, {route}: {len(wanted) - len(wrong)} of {len(wanted)} as expected, "
          f"{kit.clock() - started:.0f} s; run again: {' '.join(again) or 'none'}", flush=True)
    if route == "proxied":
        for leg, pongs in round.pongs.items():
            suite.check(pongs > 0, f"{party}: the {leg} leg answered {pongs} of our pings")


async def main():
    suite = kit.Suite("autobahn: the same verdicts directly and through the proxy")
    os.makedirs(OUT, exist_ok=True)
    if "--write" in sys.argv:
        write({party: await Round(party, "direct").run() for party in PARTIES})
    wanted = expected()
    for party in PARTIES:
        for route in ROUTES:
            await compare(suite, wanted, party, route)
    return suite.end()


kit.run(main)
