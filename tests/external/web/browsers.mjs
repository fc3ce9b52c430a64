// Browsers at the gateway: a page and a WebSocket over HTTP/2 with TLS, HTTP/1.1 with TLS, and
// plain HTTP. What the browser spoke is told by the server that the WebSocket ends at, from `Via`.

import { fileURLToPath } from "node:url";
import { once } from "node:events";
import { WebSocketServer } from "ws";
import { Gateway, check, end, same, skip, within } from "./kit.mjs";
import { ENDINGS, Restartable } from "./restarts.mjs";

/** Restarts of the upstream that a page does not notice. */
const RESTARTS = 20;

/** Echoes, and closes with the code that it is asked for; what it saw of the last connection. */
async function upstream() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  const seen = {};
  server.on("connection", (socket, request) => {
    const { via, "x-forwarded-proto": scheme } = request.headers;
    seen.head = { via, scheme };
    seen.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => resolve([code, `${reason}`]));
    });
    socket.on("message", (data, isBinary) => {
      const [, code] = (!isBinary && `${data}`.match(/^close (\d+)$/)) || [];
      if (code) socket.close(Number(code), "as you wish");
      else socket.send(data, { binary: isBinary });
    });
  });
  await once(server, "listening");
  return { url: `ws://127.0.0.1:${server.address().port}`, seen };
}

/** In the page: echoes text and 1 MiB, then has the socket closed by one of the sides. */
async function converse(closer) {
  const protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/echo`);
  socket.binaryType = "arraybuffer";
  const next = (name) =>
    new Promise((resolve, reject) => {
      socket.addEventListener(name, resolve, { once: true });
      if (name !== "close") {
        socket.addEventListener("close", ({ code }) => reject(new Error(`closed: ${code}`)), {
          once: true,
        });
      }
    });
  await next("open");
  socket.send("Grüße");
  const text = (await next("message")).data;
  const sent = new Uint8Array(1 << 20);
  for (let at = 0; at < sent.length; at += 65536) {
    crypto.getRandomValues(sent.subarray(at, at + 65536));
  }
  socket.send(sent);
  const echo = new Uint8Array((await next("message")).data);
  const binary = echo.length === sent.length && echo.every((byte, at) => byte === sent[at]);
  const closed = next("close");
  if (closer === "page") socket.close(4001, "that is all");
  else socket.send("close 4002");
  const { code, reason, wasClean } = await closed;
  return { protocol, text, binary, close: [code, reason, wasClean] };
}

/** One browser on one address, and what it and the upstream must see. */
async function visit(name, browser, url, { seen }, wanted) {
  const page = await browser.page();
  await page.goto(`${url}/`);
  for (const closer of ["page", "upstream"]) {
    const got = await page.evaluate(converse, closer);
    const over = `${name}, closed by the ${closer}`;
    same(got.protocol, wanted.protocol, `${over}: the page comes over ${wanted.protocol}`);
    same(seen.head, wanted.head, `${over}: the upstream is told ${JSON.stringify(wanted.head)}`);
    same(got.text, "Grüße", `${over}: text is echoed`);
    check(got.binary, `${over}: 1 MiB is echoed`);
    const close = closer === "page" ? [4001, "that is all"] : [4002, "as you wish"];
    same(got.close, [...close, true], `${over}: the page sees the close code`);
    same((await within(seen.closed, "a close"))[0], close[0], `${over}: the upstream sees the close code`);
  }
}

/** Over HTTP/2, HTTP/1.1 and without TLS; without HTTP/2 it is another browser. */
async function tour(name, launch, withoutHttp2, gateway, server) {
  const head = (version, scheme) => ({ via: `${version} gateway`, scheme });
  const browser = await launch();
  await visit(`${name}, TLS, HTTP/2`, browser, gateway.secured, server, {
    protocol: "h2",
    head: head("2", "https"),
  });
  await visit(`${name}, plain`, browser, gateway.plain, server, {
    protocol: "http/1.1",
    head: head("1.1", "http"),
  });
  await browser.close();
  const older = await launch(withoutHttp2);
  await visit(`${name}, TLS, HTTP/1.1`, older, gateway.secured, server, {
    protocol: "http/1.1",
    head: head("1.1", "https"),
  });
  await older.close();
}

/** In the page: opens a socket that is kept, and counts its closes. */
async function open() {
  window.closes = 0;
  window.socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/echo`);
  socket.addEventListener("close", () => (window.closes += 1));
  await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
}

/** In the page: sends a text until it comes back; its upstream may have taken it to its end. */
async function echo(text) {
  const back = new Promise((resolve) => {
    const listen = ({ data }) => data === text && resolve(true);
    socket.addEventListener("message", listen);
  });
  const pause = () => new Promise((resolve) => setTimeout(resolve, 1000, false));
  for (let tries = 0; tries < 20 && window.closes === 0; tries += 1) {
    socket.send(text);
    if (await Promise.race([back, pause()])) break;
  }
  return window.closes;
}

/** Restarts the upstream of two pages, over HTTP/2 and plain, whose sockets live on. */
async function restarts(name, launch) {
  const upstream = await new Restartable().start();
  const limit = `--reattach-limit=${RESTARTS}`;
  const args = [`--upstream=${upstream.url}`, `--static=${site}`, "--reattach=10s", limit];
  const gateway = await Gateway.start(args, { tls: true });
  const browser = await launch();
  const pages = [];
  for (const url of [gateway.secured, gateway.plain]) {
    const page = await browser.page();
    await page.goto(`${url}/`);
    await page.evaluate(open);
    pages.push(page);
  }
  const endings = Object.values(ENDINGS);
  let closes = 0;
  for (let number = 0; number < RESTARTS && closes === 0; number += 1) {
    await upstream.restart(endings[number % endings.length]);
    const echoes = pages.map((page) => page.evaluate(echo, `after restart ${number}`));
    closes = (await Promise.all(echoes)).reduce((sum, seen) => sum + seen);
  }
  same(closes, 0, `${name}: no close event in two pages over ${RESTARTS} restarts`);
  same(upstream.connections, 2 * (RESTARTS + 1), `${name}: both sockets reached every upstream`);
  await browser.close();
  upstream.server.close();
  await gateway.stop();
}

const server = await upstream();
const site = fileURLToPath(new URL("page", import.meta.url));
const args = [`--upstream=${server.url}`, `--static=${site}`, "--via=gateway"];
const gateway = await Gateway.start(args, { tls: true });

if (process.env.CHROMIUM) {
  const { launch } = await import("./chromium.mjs");
  await tour("Chromium", launch, ["--disable-http2"], gateway, server);
  await restarts("Chromium", launch);
} else skip("there is no Chromium here");
if (process.env.FIREFOX) {
  const { launch } = await import("./firefox.mjs");
  await tour("Firefox", launch, { "network.http.http2.enabled": false }, gateway, server);
  await restarts("Firefox", launch);
} else skip("there is no Firefox here");

same(await gateway.stop(), 0, "the gateway ends in good order");
end();
