// Compressed messages stay intact while the upstream is killed and restarted, with ws at both ends, in
// each combination of context takeover.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { Gateway, check, end, within } from "./kit.mjs";
import { ENDINGS, Restartable } from "./restarts.mjs";

const MESSAGES = 5;
const text = (number) =>
  Array.from({ length: 200 }, (_, word) => `${(number * word) % 97} sheep`).join(" ");

/** Sends a message until it comes back: its upstream may have taken it to its end. */
async function echo(socket, message) {
  let back = false;
  const listen = (data) => {
    if (`${data}` === message) back = true;
    else if (!/^\d+ \d+ /.test(`${data}`)) throw new Error(`another message: ${data}`);
  };
  socket.on("message", listen);
  for (let waited = 0; !back; waited += 20) {
    if (socket.readyState !== WebSocket.OPEN) break;
    if (waited % 1000 === 0) socket.send(message);
    await sleep(20);
  }
  socket.off("message", listen);
  return back;
}

async function combination(serverNoContextTakeover, clientNoContextTakeover) {
  const deflate = { serverNoContextTakeover, clientNoContextTakeover, threshold: 0 };
  const name = `server ${serverNoContextTakeover ? "forgets" : "keeps"}, client ${clientNoContextTakeover ? "forgets" : "keeps"}`;
  const upstream = await new Restartable({ perMessageDeflate: deflate }).start();
  const endings = Object.entries(ENDINGS);
  const limit = `--reattach-limit=${endings.length}`;
  const gateway = await Gateway.start([`--upstream=${upstream.url}`, "--reattach=10s", limit]);
  const offer = clientNoContextTakeover ? { clientNoContextTakeover } : {};
  const socket = new WebSocket(gateway.plain.replace("http", "ws") + "/ws/room", {
    perMessageDeflate: { ...offer, threshold: 0 },
  });
  let agreed = "";
  socket.on("upgrade", ({ headers }) => (agreed = headers["sec-websocket-extensions"]));
  let closes = 0;
  socket.on("close", () => (closes += 1));
  await within(once(socket, "open"), "open");
  check(agreed.includes("client_no_context_takeover"), `${name}: agreed on ${agreed}`);
  let round = 0;
  for (const [how, ending] of [["opened"], ...endings]) {
    if (ending) await upstream.restart(ending);
    round += 1;
    let intact = 0;
    for (let number = 0; number < MESSAGES; number += 1) {
      const message = `${round} ${number} ${text(number)}`;
      intact += await within(echo(socket, message), `${name}, ${how}: an echo`);
    }
    check(intact === MESSAGES, `${name}, ${how}: ${intact} messages are echoed`);
  }
  check(closes === 0, `${name}: the socket has lived over ${endings.length} restarts`);
  check(upstream.connections === endings.length + 1, `${name}: each upstream had it`);
  socket.terminate();
  upstream.server.close();
  await gateway.stop();
}

for (const server of [false, true]) {
  for (const client of [false, true]) await combination(server, client);
}
end();
