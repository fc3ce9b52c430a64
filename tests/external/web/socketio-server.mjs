// A Socket.IO server that counts for each visitor: `count` adds one to the visitor's number and is
// answered with it and with the server's name, the first argument. The second is its port, or 0.

import http from "node:http";
import { Server } from "socket.io";

const [, , name, port] = process.argv;
const server = http.createServer();
const io = new Server(server, { pingInterval: 2000, pingTimeout: 5000 });
const say = (...words) => console.log(words.join(" "));

io.on("connection", (socket) => {
  say("came", socket.handshake.auth.visitor, socket.conn.transport.name);
  socket.conn.on("upgrade", (transport) => {
    say("upgraded", socket.handshake.auth.visitor, transport.name);
  });
  let count = 0;
  socket.on("count", (answer) => answer({ name, count: (count += 1) }));
  socket.on("large", (data, answer) => answer(data));
});
server.listen(Number(port), "127.0.0.1", () => say(`listening ${server.address().port}`));
process.on("SIGTERM", () => io.close(() => process.exit(0)));
