"""What the external suites share: programs that end with the suite, and a count of checks."""

import asyncio
import ctypes
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.environ.get("PEERS", "")

# How long anything may take that is expected to happen at once.
SOON = 10


class Suite:
    """Counts checks, and prints each that fails."""

    def __init__(self, heading):
        self.passed = self.failed = 0
        print(f"== {heading}", flush=True)

    def check(self, fine, what):
        if fine:
            self.passed += 1
        else:
            self.failed += 1
        print(f"{'ok    ' if fine else 'FAILED'} {what}", flush=True)
        return fine

    def count(self, number):
        """Checks that were fine, and are too many to name."""
        self.passed += number

    def skip(self, why):
        print(f"skip   {why}", flush=True)

    def end(self):
        """Prints the closing line; the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def die_with_parent():
    """So that nothing outlives the suite, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Program:
    """A running program, and the lines that it prints."""

    @classmethod
    async def start(cls, *command, netns=None, stderr=None):
        if netns:
            command = ("ip", "netns", "exec", netns, *command)
        self = cls()
        self.process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            preexec_fn=die_with_parent,
        )
        self.lines = asyncio.Queue()
        self.reader = asyncio.create_task(self.read())
        return self

    async def read(self):
        while line := await self.process.stdout.readline():
            self.lines.put_nowait(line.decode().rstrip("\n"))
        self.lines.put_nowait(None)

    async def line(self, start, within=SOON):
        """The rest of the next line that starts so."""

        async def find():
            while (line := await self.lines.get()) is not None:
                if line.startswith(start):
                    return line[len(start) :].strip()
            raise EOFError(f"ended before it said {start!r}")

        return await asyncio.wait_for(find(), within)

    async def stop(self):
        """Ends it at once."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.reader

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stop()


class Proxy(Program):
    """The layer, in front of `upstream`. Times are in milliseconds."""

    @classmethod
    async def start(cls, upstream, interval=0, pong=5000, listen="127.0.0.1:0", netns=None):
        self = await super().start(
            os.path.join(PEERS, "proxy"),
            f"upstream=ws://{upstream}",
            f"listen={listen}",
            f"interval={interval}",
            f"pong={pong}",
            netns=netns,
        )
        self.address = await self.line("listening")
        return self

    async def closed(self, within=SOON):
        """How the next tunnel ended, by name (see the program's own description)."""
        line = await self.line("closed", within)
        return dict(field.split("=", 1) for field in line.split("\t"))

    async def all_closed(self):
        """Stops it; how the tunnels ended that were not asked for before."""
        await self.stop()
        ends = []
        while not self.lines.empty():
            line = self.lines.get_nowait() or ""
            if line.startswith("closed\t"):
                ends.append(dict(field.split("=", 1) for field in line.split("\t")[1:]))
        return ends


def run(main):
    """Runs a suite to its end. A signal ends its programs too."""

    async def bounded():
        task = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await main()

    sys.exit(asyncio.run(bounded()))


def clock():
    """Seconds, for differences."""
    return time.monotonic()


async def time_until(holds, within, pause=0.05):
    """The seconds until the asynchronous function returns true, or None if it does not in time."""
    began = clock()
    while clock() - began < within:
        if await holds():
            return clock() - began
        await asyncio.sleep(pause)
    return None
