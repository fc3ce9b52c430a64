"""The metrics of a gateway under load, as Prometheus sees them.

The gateway has two upstreams: the demo of another gateway, and one that comes and goes. Every kind
of event is caused; then both formats of a scrape are checked, and every query of the dashboard is
asked of a Prometheus that scrapes the gateway.
"""

import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

import websockets
from prometheus_client.openmetrics import parser

GATEWAY = os.environ["GATEWAY"]
DASHBOARD = "docs/grafana-dashboard.json"
RULES = "docs/alerts.yml"
# Of each wait; the suite has a bound of its own.
PATIENCE = 60

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Gateway:
    """A gateway in a process of its own."""

    def __init__(self, log, *options):
        command = [GATEWAY, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self.line("listening on http://")
        self.admin = self.line("admin on http://")

    def line(self, prefix):
        line = self.process.stdout.readline().strip()
        if not line.startswith(prefix):
            sys.exit(f"instead of {prefix!r}: {line!r}")
        return line.removeprefix(prefix)

    def fetch(self, path, accept="*/*"):
        request = urllib.request.Request(f"http://{self.admin}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.headers["Content-Type"], response.read().decode()


def free_port():
    """A port on which nothing listens: 127.0.0.78 has no other users."""
    import socket

    with socket.create_server(("127.0.0.78", 0)) as server:
        return server.getsockname()[1]


async def tunnel(gateway, do):
    """Opens a tunnel and does something with it; errors of handshakes are part of the load."""
    try:
        async with websockets.connect(
            f"ws://{gateway.address}/ws/echo", ping_interval=None, open_timeout=10, max_size=None
        ) as socket:
            await do(socket)
    except (OSError, websockets.WebSocketException):
        pass


async def talk(socket):
    for size in (1, 100, 900):
        await socket.send("a" * size)
        await socket.recv()
        await socket.send(b"b" * size)
        await socket.recv()
    await asyncio.sleep(0.5)


async def close_oddly(socket):
    await socket.close(4001, "enough")


async def vanish(socket):
    socket.transport.abort()


async def say_too_much(socket):
    await socket.send("a" * 2000)
    await socket.recv()


def request(gateway):
    try:
        urllib.request.urlopen(f"http://{gateway.address}/ws/echo", timeout=10)
    except OSError:
        pass


async def malformed(gateway):
    """A handshake without a key, which the proxy rejects. The dead upstream need not cause a failure:
    its first probe may be faster than the first client."""
    reader, writer = await asyncio.open_connection(*gateway.address.split(":"))
    writer.write(
        b"GET /ws/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), head
    writer.close()


async def load(gateway):
    """One round of everything."""
    tunnels = [tunnel(gateway, do) for do in (talk, talk, close_oddly, vanish, say_too_much) * 2]
    await asyncio.gather(asyncio.to_thread(request, gateway), malformed(gateway), *tunnels)


def check_text(gateway):
    content_type, text = gateway.fetch("/metrics", "text/plain")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8", content_type
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True
    )
    if checked.returncode != 0 or checked.stderr:
        sys.exit(f"promtool check metrics: {checked.stdout}{checked.stderr}")
    return names_of(text)


def names_of(text):
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def check_open_metrics(gateway):
    content_type, text = gateway.fetch("/metrics", OPEN_METRICS)
    assert content_type.startswith(OPEN_METRICS), content_type
    families = list(parser.text_string_to_metric_families(text))
    for family in families:
        assert family.documentation, family.name
        assert family.samples, family.name
    return {
        family.name + ("_total" if family.type == "counter" else "") for family in families
    }


def queries():
    """The expressions of the dashboard and of the rules, as Prometheus takes them."""
    dashboard = json.loads(pathlib.Path(DASHBOARD).read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$pool", ".*").replace("$__rate_interval", "1m")
            yield panel["title"], query


def ask(prometheus, query):
    url = f"http://{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)["data"]["result"]


def has_data(result):
    return any(sample["value"][1] != "NaN" for sample in result)


class Prometheus:
    def __init__(self, folder, gateway):
        port = free_port()
        self.address = f"127.0.0.78:{port}"
        config = pathlib.Path(folder, "prometheus.yml")
        rules = pathlib.Path(RULES).resolve()
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{rules}']\n"
            "scrape_configs:\n"
            "  - job_name: gateway\n"
            f"    static_configs: [{{targets: ['{gateway.admin}']}}]\n"
        )
        log = open(pathlib.Path(folder, "prometheus.log"), "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={self.address}"],
            stdout=log, stderr=log,
        )

    def rules(self):
        with urllib.request.urlopen(f"http://{self.address}/api/v1/rules", timeout=10) as response:
            groups = json.load(response)["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


async def until(what, check, gateway):
    """Repeats the load until the check passes; it returns what is missing."""
    missing = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                await load(gateway)
                try:
                    missing = await asyncio.to_thread(check)
                except OSError as error:
                    missing = error
                if not missing:
                    return
    except TimeoutError:
        sys.exit(f"{what}: {missing}")


async def run(folder, log, processes):
    demo = Gateway(log)
    processes.append(demo.process)
    dead = f"127.0.0.78:{free_port()}"
    gateway = Gateway(
        log, "--upstream", f"ws://{demo.address}", "--upstream", f"ws://{dead}",
        "--probe", "ws:/ws/echo", "--probe-interval", "1s", "--keep-alive", "100ms",
        "--max-message", "1k", "--forward-http", "--drain-spread", "0s", "--drain-timeout", "20s",
    )  # fmt: skip
    processes.append(gateway.process)
    prometheus = Prometheus(folder, gateway)
    processes.append(prometheus.process)

    def unanswered():
        return [(title, q) for title, q in queries() if not has_data(ask(prometheus.address, q))]

    await until("queries of the dashboard without data", unanswered, gateway)
    text, open_metrics = check_text(gateway), check_open_metrics(gateway)
    assert text == open_metrics, text ^ open_metrics
    print(f"{len(text)} metrics, {len(list(queries()))} queries")

    def unfit():
        rules = prometheus.rules()
        return [rule["name"] for rule in rules if rule["health"] != "ok"] or not rules

    await until("alert rules that cannot be evaluated", unfit, gateway)
    await drain(gateway)


async def drain(gateway):
    """During a drain the gateway is live, not ready, and says what it waits for."""

    async def hold(socket):
        gateway.process.send_signal(signal.SIGTERM)
        await until_draining(gateway)
        assert gateway.fetch("/livez")[1] == "ok\n"

    # A client that answers no close frame.
    url = f"ws://{gateway.address}/ws/echo"
    reader, writer = await asyncio.open_connection(*gateway.address.split(":"))
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /ws/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), (url, head)
    await hold(writer)
    writer.close()
    code = await asyncio.to_thread(gateway.process.wait, PATIENCE)
    assert code == 0, code


async def until_draining(gateway):
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await asyncio.to_thread(gateway.fetch, "/readyz")
            except urllib.error.HTTPError as error:
                assert error.code == 503, error
                break
    text = (await asyncio.to_thread(gateway.fetch, "/metrics"))[1]
    assert 'wsplice_draining{pool="main"} 1' in text, text
    assert re.search(r'wsplice_drain_remaining_tunnels\{pool="main"\} [1-9]', text), text


def main():
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with open(pathlib.Path(folder, "gateway.log"), "w") as log:
                asyncio.run(run(folder, log, processes))
        except BaseException:
            print(pathlib.Path(folder, "gateway.log").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            for process in processes:
                process.kill()
                process.wait()
    print("ok")


main()
