// A server with subscriptions, of graphql-ws or of MQTT: each topic has an event every 50 ms, with the
// server's generation. Arguments: `graphql` or `mqtt`, the generation, the port or 0.

import { Aedes } from "aedes";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { setInterval, setTimeout as sleep } from "node:timers/promises";
import { WebSocketServer, createWebSocketStream } from "ws";

const [, , protocol, generation, port] = process.argv;
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port) });

/** Events of a topic. */
async function* events(topic) {
  for await (const _ of setInterval(50)) yield { events: `${topic} ${generation}` };
}

function serveGraphQl() {
  const schema = buildSchema(`
    type Query { generation: String }
    type Subscription { events(topic: String!): String }
  `);
  const roots = { subscription: { events: ({ topic }) => events(topic) } };
  useServer({ schema, roots }, server);
}

async function serveMqtt() {
  const broker = await Aedes.createBroker();
  const topics = new Set();
  broker.on("subscribe", (subscriptions) => {
    for (const { topic } of subscriptions) topics.add(topic);
  });
  server.on("connection", (socket) => {
    const stream = createWebSocketStream(socket);
    // One message for each packet, as brokers do that write frames themselves.
    stream._writev = (chunks, done) =>
      stream._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "buffer", done);
    stream.on("error", () => {});
    broker.handle(stream);
  });
  for (;;) {
    await sleep(50);
    for (const topic of topics) broker.publish({ topic, payload: generation, qos: 0 });
  }
}

server.on("listening", () => console.log(`listening ${server.address().port}`));
if (protocol === "mqtt") await serveMqtt();
else serveGraphQl();
