"""The parts of the fleet, each a program on a host of its own."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import time
import urllib.parse

import kit
import net

GATEWAYS = ("g1", "g2", "g3")
UPSTREAMS = ("u1", "u2", "u3", "u4", "u5", "u6")
DOMAIN = "chat.example"
PORT, ADMIN = 8080, 9090
SERVER = (sys.executable, os.path.join(kit.HERE, "room_server.py"))

# Seconds for a connect: long enough for a packet that TCP sends again after a second.
CONNECT = 2
# Of the load balancer: between two health checks, for a connect, and until it gives up what a gateway
# does not acknowledge.
CHECK, BALANCER_CONNECT, UNACKNOWLEDGED = 0.3, 1, 5
# Of the records, in seconds: the shortest after which a gateway asks again.
TTL = 1


class Gateway:
    """One life of a gateway. Its name is in the Via header, by which upstreams tell it."""

    def __init__(self, host, life):
        self.host, self.name = host, f"{host}-{life}"
        self.began, self.ended = time.time(), float("inf")

    def is_running(self):
        return self.ended == float("inf")


class Fleet(contextlib.AsyncExitStack):
    """All parts. `options` are further ones of the gateways."""

    def __init__(self, *options):
        super().__init__()
        self.options = options
        self.programs, self.gateways = {}, {}
        self.listed = list(UPSTREAMS[:5])

    async def __aenter__(self):
        await super().__aenter__()
        try:
            self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
            self.log = self.enter_context(open(self.folder / "log", "w+"))
            hosts = ("clients", "balancer", *GATEWAYS, *UPSTREAMS, "dns", "monitor")
            self.net = await self.enter_async_context(net.Net(*hosts))
            self.lives = []
            await self.start_dns()
            await asyncio.gather(*map(self.start_upstream, self.listed))
            await asyncio.gather(*map(self.start_gateway, GATEWAYS))
            await self.start_balancer()
            await self.start_prometheus()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, kind, *rest):
        if kind:
            print(self.logged(), file=sys.stderr)
        return await super().__aexit__(kind, *rest)

    async def start(self, host, *command):
        """Starts the program of a host, which has one at a time."""
        program = await kit.Program.start(*command, netns=self.net.namespace(host), stderr=self.log)
        self.programs[host] = await self.enter_async_context(program)
        return program

    async def kill(self, host):
        await self.programs[host].stop()

    def logged(self):
        """The end of what the programs wrote on their standard error."""
        return (self.folder / "log").read_text()[-4000:]

    # DNS: knot, an authoritative server.

    async def start_dns(self, with_zone=True):
        folder = self.folder
        for name in ("run", "db"):
            (folder / name).mkdir(exist_ok=True)
        zone = folder / "zone"
        if with_zone:
            self.write_zone()
        else:
            zone.unlink()
        config = {
            "server": [f"rundir: {folder}/run", f"listen: {self.net.address('dns')}@53"],
            "database": [f"storage: {folder}/db"],
            "log": ["- target: stderr", "  any: warning"],
            "zone": [f"- domain: {DOMAIN}", f"  file: {zone}", "  journal-content: none", "  zonefile-sync: -1"],
        }
        sections = ([f"{name}:", *("  " + line for line in lines)] for name, lines in config.items())
        (folder / "knot.conf").write_text("".join(line + "\n" for section in sections for line in section))
        await self.start("dns", "knotd", "-c", folder / "knot.conf")
        async with asyncio.timeout(kit.SOON):
            while await self.knotc("status"):
                await asyncio.sleep(0.05)

    def write_zone(self):
        lines = [f"$ORIGIN {DOMAIN}.", f"$TTL {TTL}", f"@ SOA dns admin {time.time_ns() // 10**8 % 2**31} 60 60 600 1"]
        lines += ["@ NS dns", f"dns A {self.net.address('dns')}"]
        lines += [f"{name} A {self.net.address(name)}" for name in UPSTREAMS]
        lines += [f"_ws._tcp SRV 0 1 {PORT} {name}" for name in self.listed]
        (self.folder / "zone").write_text("\n".join(lines) + "\n")

    async def list_upstreams(self, *names):
        """Changes the SRV records."""
        self.listed = list(names)
        self.write_zone()
        assert await self.knotc("zone-reload", DOMAIN) == 0, self.logged()

    async def knotc(self, *words):
        program = await asyncio.create_subprocess_exec(
            "knotc", "-c", str(self.folder / "knot.conf"), "-s", str(self.folder / "run/knot.sock"), *words,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await program.wait()

    # Upstreams and gateways.

    async def start_upstream(self, name):
        server = await self.start(name, *SERVER, name, f"{self.net.address(name)}:{PORT}")
        await server.line("listening")

    async def start_gateway(self, host):
        gateway = Gateway(host, 1 + sum(life.host == host for life in self.lives))
        resolv = self.folder / "resolv.conf"
        resolv.write_text(f"nameserver {self.net.address('dns')}\n")
        # `ip netns exec` gives the program mounts of its own.
        mount = ("sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolv)
        address = self.net.address(host)
        program = await self.start(
            host, *mount, os.environ["GATEWAY"], "--threads=1", f"--via={gateway.name}",
            f"--listen={address}:{PORT}", f"--admin={address}:{ADMIN}",
            f"--accept-proxy-protocol={self.net.subnet('balancer')}",
            f"--discover=srv:_ws._tcp.{DOMAIN}.", "--balance=query:room",
            "--probe=ws:/ws/probe", "--probe-interval=1s", f"--connect-timeout={CONNECT}s",
            "--keep-alive=1s", "--pong-timeout=5s", "--drain-spread=2s", "--drain-timeout=10s", *self.options,
        )  # fmt: skip
        await program.line("listening on")
        self.lives.append(gateway)
        self.gateways[host] = gateway

    async def end_gateway(self, host, how=signal.SIGKILL):
        """The exit code."""
        program = self.programs[host]
        program.process.send_signal(how)
        async with asyncio.timeout(30):
            code = await program.process.wait()
        self.gateways.pop(host).ended = time.time()
        return code

    async def status(self, host):
        """The status of a gateway."""
        status, body = await self.net.fetch("monitor", self.net.address(host), ADMIN, "/status.json")
        assert status == 200, body
        return json.loads(body)

    async def upstreams(self, host):
        """The upstreams of a gateway and their states, by their names."""
        pool = (await self.status(host))["pools"][0]
        return {one["name"].partition(".")[0]: one["state"] for one in pool["upstreams"]}

    async def blamed(self, host, side):
        """The number of tunnels that this side has ended, by the metrics of a gateway."""
        text = (await self.net.fetch("monitor", self.net.address(host), ADMIN, "/metrics"))[1]
        series = rf'^wsplice_tunnels_closed_total\{{.*initiator="{side}".*\}} (\d+)$'
        return sum(map(int, re.findall(series, text, re.M)))

    async def until(self, fine, within, hosts=None):
        """The time until `fine` holds for the upstreams of each gateway, or None if it does not in time."""
        hosts = list(hosts or self.gateways)

        async def holds():
            return all([fine(await self.upstreams(host)) for host in hosts])

        return await kit.time_until(holds, within, 0.1)

    async def until_empty(self, host, within):
        """The time until a gateway has no tunnel, or None."""

        async def holds():
            return (await self.status(host))["tunnels"]["open"] == 0

        return await kit.time_until(holds, within)

    # The load balancer.

    async def start_balancer(self):
        # HAProxy 2.6 does not take `tcp-ut` from `default-server`.
        servers = [f"  server {host} {self.net.address(host)}:{PORT} tcp-ut {UNACKNOWLEDGED}s" for host in GATEWAYS]
        lines = f"""
global
  stats socket {self.folder}/balancer.sock level admin
defaults
  mode tcp
  timeout connect {BALANCER_CONNECT}s
  timeout client 1h
  timeout server 1h
  option srvtcpka
  srvtcpka-idle 2s
  srvtcpka-intvl 1s
  option redispatch 1
  retries 3
frontend clients
  bind {self.net.address("balancer")}:80
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk GET /readyz
  default-server check port {ADMIN} inter {CHECK * 1000:.0f}ms fall 2 rise 2 send-proxy-v2
"""
        config = self.folder / "balancer.cfg"
        config.write_text(lines + "\n".join(servers) + "\n")
        await self.start("balancer", "haproxy", "-db", "-f", config)

    async def command(self, words):
        """The response of the load balancer to a command."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "balancer.sock")
        writer.write(f"{words}\n".encode())
        response = (await reader.read()).decode()
        writer.close()
        return response.strip()

    async def balance(self, host, state):
        """Tells the load balancer: `drain` or `ready`."""
        response = await self.command(f"set server gateways/{host} state {state}")
        assert not response, response

    async def is_balanced(self, host):
        """Whether the load balancer sends clients to a gateway."""
        lines = (await self.command("show servers state gateways")).splitlines()
        # Names are the fourth word, states the sixth: 2 is running.
        states = {words[3]: words[5] for words in map(str.split, lines) if len(words) > 5 and words[0].isdigit()}
        return states[host] == "2"

    async def until_balanced(self, host, wanted, within):
        """The time until the load balancer sends clients to a gateway, or sends none, or None."""

        async def holds():
            return await self.is_balanced(host) == wanted

        return await kit.time_until(holds, within)

    # Prometheus.

    async def start_prometheus(self):
        targets = [f"{self.net.address(host)}:{ADMIN}" for host in GATEWAYS]
        config = self.folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: gateways, static_configs: [{{targets: {targets}}}]}}]\n"
        )
        await self.start(
            "monitor", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address={self.net.address('monitor')}:{ADMIN}",
        )  # fmt: skip

    async def samples(self, query, host):
        """Each sample that was scraped of a gateway's host: its time, and the sum of the series."""
        instance = f'instance="{self.net.address(host)}:{ADMIN}"'
        query = urllib.parse.urlencode({"query": query.replace("}", f",{instance}}}") + "[1h]"})
        body = (await self.net.fetch("monitor", self.net.address("monitor"), ADMIN, f"/api/v1/query?{query}"))[1]
        sums = {}
        for series in json.loads(body)["data"]["result"]:
            for at, value in series["values"]:
                sums[at] = sums.get(at, 0) + float(value)
        return sorted(sums.items())

    async def until_scraped(self, since, within):
        """The time until Prometheus has a scrape of each gateway that began later, or None."""

        async def is_scraped(host):
            samples = await self.samples('wsplice_tunnels{pool="main"}', host)
            return samples and samples[-1][0] > since

        async def holds():
            return all([await is_scraped(host) for host in GATEWAYS])

        return await kit.time_until(holds, within, 0.2)
