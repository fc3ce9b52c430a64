"""Runs every program of examples/ as its first lines say, and makes one request at least of each.

Usage: examples.py DIRECTORY-OF-THE-PROGRAMS. The ports are fixed, so it runs in a network namespace of
its own where one can be had.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

from kit import Suite, die_with_parent

SOON = 20


def loopback_up():
    """Sets the loopback interface of the namespace up."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0x49)
        try:
            fcntl.ioctl(probe, 0x8914, request)  # SIOCSIFFLAGS: up, running, loopback
        except PermissionError:
            pass  # not in a namespace: it is up


class Client:
    """A WebSocket client, over TCP or TLS."""

    def __init__(self, port, path, headers=(), tls=False, method="GET", upgrade=True):
        self.stream = socket.create_connection(("127.0.0.1", port), SOON)
        if tls:
            context = ssl._create_unverified_context()
            self.stream = context.wrap_socket(self.stream, server_hostname="localhost")
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
        if upgrade:
            key = base64.b64encode(os.urandom(16)).decode()
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines += [f"Sec-WebSocket-Key: {key}"]
        else:
            lines += ["Content-Length: 0", "Connection: close"]
        self.stream.sendall("\r\n".join([*lines, "", ""]).encode())
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            self.read()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])

    def read(self):
        more = self.stream.recv(4096)
        if not more:
            raise EOFError
        self.bytes += more

    def body(self):
        try:
            while True:
                self.read()
        except EOFError:
            return self.bytes

    def send(self, text):
        mask, data = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.stream.sendall(bytes([0x81, 0x80 | len(data)]) + mask + masked)

    def frame(self):
        """The next frame: its opcode and payload, which is short."""
        while len(self.bytes) < 2 or len(self.bytes) < 2 + self.bytes[1]:
            self.read()
        opcode, length = self.bytes[0] & 15, self.bytes[1]
        payload, self.bytes = self.bytes[2 : 2 + length], self.bytes[2 + length :]
        return opcode, payload

    def echo(self):
        self.send("hello")
        return self.frame() == (1, b"hello")

    def close_code(self):
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                return struct.unpack(">H", payload[:2])[0]


def status(port, path, *headers):
    return Client(port, path, headers).status


def get(port, path, method="GET"):
    plain = Client(port, path, method=method, upgrade=False)
    return plain.status, plain.body().decode(errors="replace")


def echoes(port, path, *headers, tls=False):
    client = Client(port, path, headers, tls=tls)
    return client.status == 101 and client.echo()


def echo_at(port, path, tls=False):
    """The check that a message comes back."""

    def check(_):
        assert echoes(port, path, tls=tls), "no echo"

    return check


def token(secret, exp):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = head + b"." + part(json.dumps({"sub": "alice", "exp": exp}).encode())
    signature = hmac.new(secret, body, hashlib.sha256).digest()
    return (body + b"." + part(signature)).decode()


class Decider(http.server.BaseHTTPRequestHandler):
    """The service that forward_auth asks."""

    def do_GET(self):
        self.send_response(200 if self.headers["Cookie"] == "alice" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def axum_router(_):
    assert echoes(3000, "/ws/anything")
    assert status(3000, "/own") == 101
    assert get(3000, "/Cargo.toml")[0] == 200


def nested(_):
    assert echoes(3000, "/app/ws/room") and echoes(3000, "/v2/ws/room")
    assert get(3000, "/app/hello") == (200, "hello\n")


def plain_hyper(_):
    assert echoes(3000, "/anything") and get(3000, "/")[0] == 426


def keep_alive(_):
    client = Client(3000, "/")
    assert client.frame()[0] == 9, "a ping comes after two seconds"


def graceful_drain(program):
    client = Client(3000, "/")
    send_caught(program, signal.SIGTERM)
    assert client.close_code() == 1012
    client.stream.close()
    program.wait(SOON)


def tunnel_alone(program):
    client = Client(3000, "/chat")
    assert client.echo()
    send_caught(program, signal.SIGINT)
    assert client.close_code() == 1001


def two_layers(_):
    chat, feed = Client(3000, "/chat/room"), Client(3000, "/feed/news")
    assert chat.echo() and feed.echo()
    assert get(3000, "/") == (200, "2 sockets\n")


def auth(_):
    assert echoes(3000, "/ws/room", "Cookie: session=s3cret")
    assert status(3000, "/ws/room") == 401


def jwt(_):
    good = "Authorization: Bearer " + token(b"secret", int(time.time()) + 60)
    forged = "Authorization: Bearer " + token(b"forged", int(time.time()) + 60)
    assert echoes(3000, "/ws/room", good) and status(3000, "/ws/room", forged) == 401


def forward_auth(_):
    service = http.server.HTTPServer(("127.0.0.1", 4000), Decider)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    assert echoes(3000, "/ws/room", "Cookie: alice")
    assert status(3000, "/ws/room", "Cookie: mallory") == 403
    service.shutdown()


def limits_by_key(_):
    client = Client(3000, "/ws/room?user=alice")
    assert client.echo()
    assert get(3000, "/log-out/alice", "POST")[0] == 200
    assert client.close_code() == 1008


def admin(_):
    alice, guest = (Client(3000, path) for path in ("/ws/room?user=alice", "/ws/room"))
    assert alice.echo() and guest.echo()
    assert get(3001, "/sockets")[1].count(" /ws/room ") == 2
    assert get(3001, "/kick/alice", "POST")[0] == 200
    assert alice.close_code() == 1008
    assert get(3001, "/close/ws/room", "POST")[0] == 200
    assert guest.close_code() == 1012


def custom_balance(_):
    assert echoes(3000, "/ws/room", "X-Region: eu")
    assert echoes(3000, "/ws/room")


def token_subprotocol(_):
    offer = "Sec-WebSocket-Protocol: chat"
    assert echoes(3000, "/ws/room", f"{offer}, bearer.eyJhbGciOi")
    assert status(3000, "/ws/room", offer) == 401


def cookie_origin(_):
    cookie = "Cookie: session=s3cret"
    assert echoes(3000, "/ws/a", cookie, "Origin: http://127.0.0.1:3000")
    assert status(3000, "/ws/a", cookie, "Origin: https://evil.example") == 403


def authenticated(_):
    assert echoes(3000, "/ws/anything", "Authorization: Bearer alice")
    assert status(3000, "/ws/anything") == 401


# Each server with its port, and what it must do. Those without a port end by themselves, and print this.
EXAMPLES = {
    "echo": (9002, echo_at(9002, "/")),
    "minimal": (3000, echo_at(3000, "/ws/anything")),
    "axum_router": (3000, axum_router),
    "nested": (3000, nested),
    "plain_hyper": (3000, plain_hyper),
    "tunnel_alone": (3000, tunnel_alone),
    "keep_alive": (3000, keep_alive),
    "graceful_drain": (3000, graceful_drain),
    "pools": (None, ""),
    "custom_health_policy": (None, "unhealthy"),
    "custom_balance": (3000, custom_balance),
    "admin": (3000, admin),
    "two_layers": (3000, two_layers),
    "tls_edge": (3443, echo_at(3443, "/ws/anything", tls=True)),
    "bounded_server": (8080, echo_at(8080, "/ws/room")),
    "auth": (3000, auth),
    "jwt": (3000, jwt),
    "forward_auth": (3000, forward_auth),
    "limits_by_key": (3000, limits_by_key),
    "token_subprotocol": (3000, token_subprotocol),
    "cookie_origin": (3000, cookie_origin),
    "authenticated": (3000, authenticated),
}


def until_open(port, program):
    """Waits until the program accepts connections."""
    end = time.monotonic() + SOON
    while program.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def send_caught(program, number):
    """Sends a signal once the program has its handler, which it may install after it has begun to listen."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        with open(f"/proc/{program.pid}/status") as status:
            caught = int(next(line.split()[1] for line in status if line.startswith("SigCgt:")), 16)
        if caught >> (number - 1) & 1:
            program.send_signal(number)
            return
        time.sleep(0.01)
    raise AssertionError(f"it has no handler for {number!r}")


def start(directory, name, *arguments, stdout=subprocess.DEVNULL):
    # The output of servers is not read: the pipe of one that prints much would fill.
    return subprocess.Popen(
        [os.path.join(directory, name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env={**os.environ, "JWT_SECRET": "secret"},
        preexec_fn=die_with_parent,
    )


def run(directory, name):
    port, check = EXAMPLES[name]
    arguments = ["9002"] if name == "echo" else []
    stdout = subprocess.PIPE if port is None else subprocess.DEVNULL
    program = start(directory, name, *arguments, stdout=stdout)
    try:
        if port is None:
            output, _ = program.communicate(timeout=60)
            assert program.returncode == 0, "it ended with an error"
            assert check in output.decode(), f"the output has no {check!r}"
        else:
            until_open(port, program)
            check(program)
    finally:
        program.kill()
        program.wait()


def main():
    directory = sys.argv[1]
    suite = Suite("every example runs, and does what its first lines say")
    loopback_up()
    echoes_on = [start(directory, "echo", port) for port in ("9000", "9001", "8081")]
    for port, program in zip((9000, 9001, 8081), echoes_on):
        until_open(port, program)
    names = [name[:-3] for name in sorted(os.listdir("examples")) if name.endswith(".rs")]
    suite.check(set(names) == set(EXAMPLES), "every example is run here")
    for name in names:
        try:
            run(directory, name)
            suite.check(True, name)
        except (AssertionError, EOFError, OSError, KeyError, subprocess.TimeoutExpired) as error:
            suite.check(False, f"{name}: {error!r}")
    for program in echoes_on:
        program.kill()
    return suite.end()


if __name__ == "__main__":
    sys.exit(main())
