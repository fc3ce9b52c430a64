// Clients with subscriptions behind a proxy that restores these when the upstream is replaced: a
// graphql-ws client, and an MQTT.js client of the broker aedes. After each restart each client still
// receives events on the subscriptions that it made before, including one that it made late, and has
// noticed nothing.

import { createClient } from "graphql-ws";
import mqtt from "mqtt";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { Program, check, comes, end, same, until, within } from "./kit.mjs";

const RESTARTS = 6;
/** The restart before which the last subscription is made. */
const LATE = 3;

async function serve(protocol, generation, port = 0) {
  const script = fileURLToPath(new URL("subscriptions-server.mjs", import.meta.url));
  const server = new Program(process.execPath, [script, protocol, generation, port]);
  server.port = Number((await server.said(/^listening (\d+)$/))[1]);
  return server;
}

async function startProxy(port) {
  const args = [`upstream=ws://127.0.0.1:${port}`];
  const proxy = new Program(`${process.env.PEERS}/restoring-proxy`, args);
  proxy.port = Number((await proxy.said(/^listening .*:(\d+)$/))[1]);
  return proxy;
}

/** A client of graphql-ws; `latest` has the latest generation of each topic. */
async function openGraphQl(port) {
  const noticed = [];
  const latest = new Map();
  const client = createClient({
    url: `ws://127.0.0.1:${port}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    on: {
      connected: () => noticed.push("connected"),
      closed: ({ code }) => noticed.push(`closed ${code}`),
      error: (error) => noticed.push(`error ${error}`),
    },
  });
  const subscribe = (topic) => {
    const query = `subscription { events(topic: "${topic}") }`;
    const next = ({ data }) => {
      const [name, generation] = data.events.split(" ");
      latest.set(name, generation);
    };
    const error = (error) => noticed.push(`error of ${topic} ${JSON.stringify(error)}`);
    client.subscribe({ query }, { next, error, complete: () => noticed.push(`end of ${topic}`) });
  };
  return { subscribe, latest, noticed, close: () => client.terminate() };
}

/** The same of MQTT. */
async function openMqtt(port) {
  const noticed = [];
  const latest = new Map();
  const client = mqtt.connect(`ws://127.0.0.1:${port}/mqtt`, { reconnectPeriod: 0 });
  client.on("connect", () => noticed.push("connected"));
  client.on("close", () => noticed.push("closed"));
  client.on("error", (error) => noticed.push(`error ${error}`));
  client.on("message", (topic, payload) => latest.set(topic, `${payload}`));
  const subscribe = (topic) => client.subscribe(topic);
  return { subscribe, latest, noticed, close: () => client.end(true) };
}

for (const [protocol, open] of [
  ["graphql", openGraphQl],
  ["mqtt", openMqtt],
]) {
  let server = await serve(protocol, "0");
  const proxy = await startProxy(server.port);
  const client = await open(proxy.port);
  const topics = ["early", "beside"];
  topics.forEach(client.subscribe);
  const all = (generation) => () => topics.every((topic) => client.latest.get(topic) === generation);
  await until(all("0"), `${protocol}: first events`);
  for (let restart = 1; restart <= RESTARTS; restart += 1) {
    if (restart === LATE) {
      topics.push("late");
      client.subscribe("late");
      await until(all(`${restart - 1}`), `${protocol}: events of the late subscription`);
    }
    await within(server.stop("SIGKILL"), "end of a server");
    server = await serve(protocol, `${restart}`, server.port);
    const what = `${protocol}: events of ${topics.length} subscriptions after restart ${restart}`;
    const seen = () => [client.noticed, [...client.latest], proxy.lines, server.errors];
    check(await until(all(`${restart}`), what, 8000).catch(() => false), what, seen());
  }
  same(client.noticed, ["connected"], `${protocol}: the client has noticed nothing`);
  const reattached = () => proxy.lines.filter((line) => line.startsWith("reattached")).length;
  await comes(reattached, RESTARTS, `${protocol}: one reattachment for each restart`);
  client.close();
  await proxy.stop();
  await server.stop("SIGKILL");
}
end();
