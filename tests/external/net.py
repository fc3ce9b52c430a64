"""Hosts in network namespaces of their own, around a router that can lose, hold up and refuse packets.

Needs root, iproute2 and nftables; `missing()` says what is not there. Nothing leads out of it.

    async with Net("client", "gateway", "upstream") as net:
        net.between("client", "gateway", "drop")
"""

import asyncio
import contextlib
import ctypes
import fcntl
import itertools
import os
import random
import re
import shutil
import socket
import struct
import subprocess

import namespaces
from namespaces import ip

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
# From linux/if_tun.h.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
TUN = "/dev/net/tun"

# Statements of nftables for `between`: packets vanish, one of twenty does, the first one that begins a
# connection does, connections are reset.
DROP = "counter drop"
LOSE = "numgen random mod 100 < 5 counter drop"
LOSE_FIRST = "tcp flags & (syn | ack) == syn numgen inc mod 65536 < 1 counter drop"
RESET = "meta l4proto tcp counter reject with tcp reset"
# What their rules stand in.
TABLE = ["add table ip faults", "add chain ip faults forward { type filter hook forward priority 0; }"]
# The rate of a slow cable.
SLOW = "500 kbit/s"

numbers = itertools.count(1)


def missing():
    """Why there can be no network here, if so."""
    if reason := namespaces.missing():
        return reason
    if not shutil.which("nft"):
        return "there is no program nft here"
    name = f"wsplice-{os.getpid()}-probe"
    ip("netns", "add", name)
    try:
        made = subprocess.run(nft(name, *TABLE), capture_output=True, text=True)
        return f"no nftables here ({made.stderr.strip()})" if made.returncode else None
    finally:
        ip("netns", "delete", name)


def cannot_hold_up():
    """Why `hold_up` cannot be used here, if so: a container may lack the device."""
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"packets cannot be held up here ({error})"
    return None


class Net(namespaces.Namespaces):
    """The n-th host has 198.18.n.2, the router 198.18.n.1 (RFC 2544, for tests of networks)."""

    def __init__(self, *hosts):
        self.prefix = f"wsplice-{os.getpid()}-{next(numbers)}"
        self.places = {host: place for place, host in enumerate(hosts, 1)}
        self.router = self.namespace("router")
        self.late = None

    def namespace(self, host):
        return f"{self.prefix}-{host}"

    def subnet(self, host):
        return f"198.18.{self.places[host]}.0/24"

    def address(self, host, last=2):
        return f"198.18.{self.places[host]}.{last}"

    def spaces(self):
        return [self.router, *map(self.namespace, self.places)]

    def lay_cables(self):
        with self.inside(self.router), open("/proc/sys/net/ipv4/ip_forward", "w") as forward:
            forward.write("1")
        for host in self.places:
            name = self.namespace(host)
            ip("-n", self.router, "link", "add", "name", host, "type", "veth", "peer", "name", "eth0", "netns", name)
            for space, link, last in [(self.router, host, 1), (name, "eth0", 2)]:
                # One segment is one packet, as on a real cable.
                ip("-n", space, "link", "set", "dev", link, "up", "gso_max_segs", 1)
                ip("-n", space, "address", "add", f"{self.address(host, last)}/24", "dev", link)
            self.route(host)
        self.nft(*TABLE)

    def add_address(self, host, last):
        ip("-n", self.namespace(host), "address", "add", f"{self.address(host, last)}/24", "dev", "eth0")

    def route(self, host):
        ip("-n", self.namespace(host), "route", "replace", "default", "via", self.address(host, 1))

    async def __aenter__(self):
        """The network is laid out and removed in another thread: both take tenths of a second, in which
        others in the loop could not answer a ping."""
        laid = asyncio.create_task(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(laid)
        except asyncio.CancelledError:
            # What the thread goes on to lay out is removed when it has.
            laid.add_done_callback(lambda _: self.__exit__())
            await asyncio.wait([laid])
            raise

    async def __aexit__(self, *_):
        try:
            self.end_late()
        finally:
            await asyncio.to_thread(self.__exit__)

    def nft(self, *commands):
        subprocess.run(nft(self.router, *commands), check=True)

    def one_way(self, source, target, statement):
        """What becomes of the packets from one host to another, in the language of nftables."""
        # Packets that were late have met it before.
        paths = f'iifname != "late" ip saddr {self.subnet(source)} ip daddr {self.subnet(target)}'
        self.nft(f"add rule ip faults forward {paths} {statement}")

    def between(self, one, other, statement):
        self.one_way(one, other, statement)
        self.one_way(other, one, statement)

    def packets(self):
        """How many packets met a statement with `counter`."""
        command = ["ip", "netns", "exec", self.router, "nft", "list", "table", "ip", "faults"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", listed)))

    def learned_mtu(self, host, target):
        """The size of packets to the target that the host has learned from the network, if any."""
        command = ["ip", "-n", self.namespace(host), "route", "get", self.address(target)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"\bmtu (\d+)", shown)
        return found and int(found[1])

    def heal(self):
        """Ends what `one_way`, `between` and `hold_up` began."""
        self.nft("flush chain ip faults forward")
        self.end_late()

    def hold_up(self, one, others, **how):
        """Packets between one host and others are late: see `Late`."""
        self.late = self.late or Late(self, **how)
        for other in others:
            self.late.take(one, other)
            self.late.take(other, one)

    def end_late(self):
        if self.late:
            self.late.close()
            self.late = None

    def slow_down(self, host):
        """The host's cable carries `SLOW` each way; what waits longer than half a second is lost."""
        for space, link in self.ends(host):
            rate = SLOW.replace(" ", "").replace("/s", "")
            tc("-n", space, "qdisc", "replace", "dev", link, "root", "tbf", "rate", rate, "burst", "4kb", "latency", "500ms")

    def speed_up(self, host):
        """Ends it; how often a packet was held up."""
        held = 0
        for space, link in self.ends(host):
            shown = tc("-s", "-n", space, "qdisc", "show", "dev", link)
            held += sum(map(int, re.findall(r"overlimits (\d+)", shown)))
            tc("-n", space, "qdisc", "delete", "dev", link, "root")
        return held

    def ends(self, host):
        """Both ends of the host's cable: namespace and device."""
        return [(self.router, host), (self.namespace(host), "eth0")]

    def pull(self, host):
        """Pulls the host's cable out."""
        ip("-n", self.namespace(host), "link", "set", "dev", "eth0", "down")

    def plug(self, host):
        ip("-n", self.namespace(host), "link", "set", "dev", "eth0", "up")
        self.route(host)

    def narrow(self, host, mtu):
        """The host's cable takes no packet of more bytes."""
        ip("-n", self.namespace(host), "link", "set", "dev", "eth0", "mtu", mtu)
        ip("-n", self.router, "link", "set", "dev", host, "mtu", mtu)

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets and devices that are made here belong to that namespace. Nothing may be awaited."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
            enter(there)
            try:
                yield
            finally:
                enter(home)

    async def connect(self, host, target, port, last=2):
        """A connection from the host, from its address that ends so."""
        with self.inside(self.namespace(host)):
            made = socket.socket()
        try:
            made.setblocking(False)
            made.bind((self.address(host, last), 0))
            await asyncio.get_running_loop().sock_connect(made, (target, port))
        except BaseException:
            made.close()
            raise
        return made

    async def fetch(self, host, target, port, path):
        """The status and the body of a response over HTTP."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(sock=await self.connect(host, target, port))
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {target}\r\n\r\n".encode())
            response = await reader.read()
            writer.close()
        head, _, body = response.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


def nft(namespace, *commands):
    """The words that run these commands of nftables there."""
    return ["ip", "netns", "exec", namespace, "nft", ";".join(commands)]


def tc(*words):
    """What `tc`, of iproute2, prints."""
    return subprocess.run(["tc", *words], check=True, capture_output=True, text=True).stdout


def enter(namespace):
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Late:
    """A device of the router that packets take on their way: each is held up for a time of its own, so
    that packets overtake one another, and some come twice. Times are in seconds.
    """

    def __init__(self, net, delay=0, jitter=0, doubled=0):
        self.net, self.delay, self.jitter, self.doubled = net, delay, jitter, doubled
        self.packets = self.overtaken = 0
        self.newest = 0
        self.loop = asyncio.get_running_loop()
        with net.inside(net.router):
            self.device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", b"late", IFF_TUN | IFF_NO_PI))
        ip("-n", net.router, "link", "set", "dev", "late", "up", "txqueuelen", 10000)
        ip("-n", net.router, "route", "add", "default", "dev", "late", "table", 100)
        self.loop.add_reader(self.device, self.read)

    def take(self, source, target):
        ip("-n", self.net.router, "rule", "add", "iif", source, "to", self.net.subnet(target), "lookup", 100)

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(self.device, 65536)
                for _ in range(1 + (random.random() < self.doubled)):
                    self.packets += 1
                    wait = self.delay + random.random() * self.jitter
                    self.loop.call_later(wait, self.write, self.packets, packet)

    def write(self, number, packet):
        if self.device is None:
            return
        self.overtaken += number < self.newest
        self.newest = max(self.newest, number)
        with contextlib.suppress(BlockingIOError):
            os.write(self.device, packet)

    def close(self):
        """Packets on their way are lost; the routes go with the device."""
        self.loop.remove_reader(self.device)
        os.close(self.device)
        self.device = None
        rules = ["ip", "-n", self.net.router, "rule", "flush", "table", "100"]
        subprocess.run(rules, stderr=subprocess.DEVNULL)
