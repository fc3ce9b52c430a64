// An upstream that echoes, and that is ended and started again at its port.

import { once } from "node:events";
import { WebSocketServer } from "ws";

/** Ways to leave the clients: killed, in the midst of its words, and in good order. */
export const ENDINGS = {
  killed: (socket) => socket.terminate(),
  "cut off": (socket) => socket._socket.end(),
  restarting: (socket) => socket.close(1012, "restarting"),
};

export class Restartable {
  port = 0;
  connections = 0;

  constructor(options = {}) {
    this.options = options;
  }

  async start() {
    this.server = new WebSocketServer({ host: "127.0.0.1", port: this.port, ...this.options });
    this.server.on("connection", (socket) => {
      this.connections += 1;
      // Whatever becomes of a connection is the test's own doing.
      socket.on("error", () => {});
      socket.on("message", (data, binary) => socket.send(data, { binary }));
    });
    await once(this.server, "listening");
    this.port = this.server.address().port;
    return this;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  async restart(ending) {
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.server.clients) ending(socket);
    await closed;
    await this.start();
  }
}
