// Socket.IO through the gateway with two servers behind it, which share nothing: a session that
// reaches the other server is refused there. Sessions begin by polling and upgrade, or stay with
// polling; then a server goes away, and then the gateway is replaced.

import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { io } from "socket.io-client";
import { Gateway, Program, check, comes, end, same, until, within } from "./kit.mjs";

const VISITORS = 6;

async function serve(name, port = 0) {
  const script = fileURLToPath(new URL("socketio-server.mjs", import.meta.url));
  const server = new Program(process.execPath, [script, name, port]);
  server.port = Number((await server.said(/^listening (\d+)$/))[1]);
  server.url = `http://127.0.0.1:${server.port}`;
  return server;
}

function open(servers, more = [], port = 0) {
  const args = [
    ...servers.map(({ url }) => `--upstream=${url}`),
    "--route=/socket.io/*",
    "--forward-http",
    "--balance=round-robin",
    "--drain-timeout=5s",
    ...more,
  ];
  return Gateway.start(args, { port });
}

/** A visitor; its cookies are kept as a browser keeps them. */
function visit(gateway, number, options = {}) {
  const socket = io(gateway.plain, {
    auth: { visitor: `v${number}` },
    forceNew: true,
    withCredentials: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 500,
    ...options,
  });
  const visitor = { socket, number, connects: 0, errors: [] };
  socket.on("connect", () => (visitor.connects += 1));
  socket.on("connect_error", ({ message }) => visitor.errors.push(message));
  return visitor;
}

const connected = (visitors, what) =>
  until(() => visitors.every(({ socket }) => socket.connected), what);
const transport = ({ socket }) => socket.io.engine?.transport.name;
const upgraded = (visitors, what) =>
  until(() => visitors.every((visitor) => transport(visitor) === "websocket"), what);
const count = ({ socket }) => within(socket.emitWithAck("count"), "an answer");

/** Which server each visitor is at; `times` messages in a row must get there. */
async function places(visitors, times, what) {
  const names = [];
  let steady = true;
  for (const visitor of visitors) {
    const first = await count(visitor);
    names.push(first.name);
    for (let more = 1; more < times; more += 1) {
      const { name, count: number } = await count(visitor);
      steady &&= name === first.name && number === first.count + more;
    }
  }
  check(steady, `${what}: each visitor's messages reach one server, in order`);
  return names;
}

const both = (names) => ["a", "b"].every((name) => names.includes(name));
const quiet = (visitors) => visitors.flatMap(({ errors }) => errors);

let [a, b] = [await serve("a"), await serve("b")];

// What stickiness is for: without it, polling gets nowhere.
{
  const gateway = await open([a, b]);
  const stray = visit(gateway, 0, { transports: ["polling"], auth: { visitor: "stray" } });
  const lost = () => stray.errors.length > 0 || stray.socket.io.engine?.readyState === "closed";
  stray.socket.on("disconnect", (reason) => stray.errors.push(reason));
  check(await until(lost, "an error without stickiness"), "without stickiness, polling fails");
  stray.socket.disconnect();
  await gateway.stop();
}

const sticky = ["--sticky=place"];
let gateway = await open([a, b], sticky);
const upgraders = Array.from({ length: VISITORS }, (_, number) => visit(gateway, number));
const pollers = Array.from({ length: 2 }, (_, number) =>
  visit(gateway, VISITORS + number, { transports: ["polling"] }),
);
const all = [...upgraders, ...pollers];
await connected(all, "first connections");
await upgraded(upgraders, "upgrades");
same(quiet(all), [], "all connect at once");
const said = (pattern) => [...a.lines, ...b.lines].filter((line) => pattern.test(line)).length;
const changes = () => [said(/^came v\d+ polling$/), said(/^upgraded v\d+ websocket$/)];
await comes(changes, [all.length, VISITORS], "all begin by polling, and upgrade");
const names = await places(all, 5, "at first");
check(both(names.slice(0, VISITORS)), "both servers have visitors that upgraded", names);
for (const visitor of [upgraders[0], pollers[0]]) {
  const data = randomBytes(256 << 10);
  const echo = await within(visitor.socket.emitWithAck("large", data), "an echo of 256 KiB");
  check(data.equals(echo), `256 KiB over ${transport(visitor)} are echoed`);
}

// One server goes away: its visitors go on at the other, and the others stay.
const connects = all.map((visitor) => visitor.connects);
await within(a.stop("SIGKILL"), "end of a server");
await until(
  () => all.every((visitor, at) => names[at] === "b" || visitor.connects > connects[at]),
  "reconnections to the other server",
);
await connected(all, "connections after a server went away");
same(
  await places(all, 3, "with one server"),
  all.map(() => "b"),
  "all are at the server that is left",
);
check(
  all.every((visitor, at) => names[at] === "a" || visitor.connects === connects[at]),
  "those who were there stayed",
);
await upgraded(upgraders, "upgrades at the other server");
a = await serve("a", a.port);

// The gateway is replaced: the old one drains, and the visitors go on through the new one.
const before = all.map((visitor) => visitor.connects);
const { port } = gateway;
same(await gateway.stop(), 0, "the gateway drains, and ends in good order");
gateway = await open([a, b], sticky, port);
await until(
  () => all.every((visitor, at) => visitor.connects > before[at]),
  "reconnections through the new gateway",
);
await connected(all, "connections through the new gateway");
await upgraded(upgraders, "upgrades through the new gateway");
check(
  both(await places(all, 3, "through the new gateway")),
  "both servers have visitors again",
);

all.forEach(({ socket }) => socket.disconnect());
same(await gateway.stop(), 0, "the new gateway ends in good order");
same([await a.stop(), await b.stop()], [0, 0], "the servers end in good order");
end();
