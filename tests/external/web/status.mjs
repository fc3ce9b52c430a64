// The status page in Chromium: readable without a script, live with one, usable by keyboard alone,
// and without findings of axe-core at the levels serious and critical; with an upstream that is
// down, on a narrow and dark screen, and in a drain of many tunnels.
//
// SCREENSHOTS names a folder for pictures of the page. TUNNELS is the number of tunnels in the
// drain, 1,000 by default.

import { once } from "node:events";
import { createRequire } from "node:module";
import http2 from "node:http2";
import net from "node:net";
import { join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { launch } from "./chromium.mjs";
import { Program, check, end, same, until, within } from "./kit.mjs";

const { SCREENSHOTS, TUNNELS = "1000" } = process.env;
const AXE = createRequire(import.meta.url).resolve("axe-core");

/** An upstream that echoes. */
async function echoUpstream() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  await once(server, "listening");
  return `ws://127.0.0.1:${server.address().port}`;
}

/**
 * An upstream over HTTP/2 that accepts each WebSocket (RFC 8441), and answers a close frame; so
 * many of them need few connections.
 */
async function http2Upstream() {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.on("data", (data) => {
      if ((data[0] & 0x0f) === 8) stream.end(Buffer.from([0x88, 0]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `ws://127.0.0.1:${server.address().port}`;
}

/** The URL of a port on which no program listens. */
async function downUpstream() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return `ws://127.0.0.1:${port}`;
}

async function startGateway(args) {
  const common = ["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--admin-actions"];
  const gateway = new Program(process.env.GATEWAY, [...common, ...args], {
    env: { ...process.env, RUST_LOG: "error" },
  });
  gateway.address = (await gateway.said(/^listening on http:\/\/(\S+)/))[1];
  gateway.admin = (await gateway.said(/^admin on (http:\S+)/))[1];
  return gateway;
}

/** Opens a tunnel, and leaves it open. */
async function open(gateway, path) {
  const socket = new WebSocket(`ws://${gateway.address}/ws/${path}`);
  socket.on("error", () => {});
  await within(once(socket, "open"), `tunnel ${path}`);
  return socket;
}

/** Opens so many tunnels, some at once. */
async function openMany(gateway, count) {
  const sockets = [];
  while (sockets.length < count) {
    const group = Math.min(100, count - sockets.length);
    const opening = Array.from({ length: group }, (_, at) => open(gateway, `room/${at}`));
    sockets.push(...(await Promise.all(opening)));
  }
  return sockets;
}

/** Expects no finding of axe-core at the levels serious and critical. */
async function accessible(page, name) {
  // The policy of the page permits no script from elsewhere, so this one comes by the debugger.
  await page.evaluate(await axeSource());
  const { violations } = await page.evaluate(() => window.axe.run());
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const findings = grave.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
  same(findings, [], `${name}: axe-core finds nothing serious`);
}

let source;
async function axeSource() {
  const { readFile } = await import("node:fs/promises");
  source ??= await readFile(AXE, "utf8");
  return source;
}

async function shoot(page, name) {
  if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}

/** Presses Tab until the focus is on an element that the selector matches. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const there = (wanted) => document.activeElement.matches(wanted);
    if (await page.evaluate(there, selector)) return true;
  }
  return false;
}

/** Searches, drains an upstream, closes a tunnel and pauses, without a mouse. */
async function byKeyboard(page, gateway) {
  page.on("dialog", (dialog) => dialog.accept());
  const shows = (text) => page.getByText(text).first().waitFor();

  check(await tabTo(page, "#q"), "keyboard: the search field gets the focus");
  await page.keyboard.type("room/7");
  await page.keyboard.press("Enter");
  await shows("match “room/7”");
  same(await page.locator("tbody tr[data-key^='0-']").count(), 1, "keyboard: the search finds one");
  await page.goto(gateway.admin);

  check(await tabTo(page, "button[aria-label^=Drain]"), "keyboard: a drain button gets the focus");
  await page.keyboard.press("Enter");
  await page.locator("td.state", { hasText: "draining" }).waitFor();
  const resume = () => document.activeElement.getAttribute("aria-label")?.startsWith("Resume");
  await tabTo(page, "button[aria-label^=Resume]");
  check(await page.evaluate(resume), "keyboard: the drained upstream can be resumed");
  await page.keyboard.press("Enter");
  await page.locator("td.state", { hasText: "draining" }).waitFor({ state: "detached" });

  const before = await page.locator("button[aria-label^=Close]").count();
  check(await tabTo(page, "button[aria-label^=Close]"), "keyboard: a close button gets the focus");
  await page.keyboard.press("Enter");
  const fewer = async () => (await page.locator("button[aria-label^=Close]").count()) < before;
  await until(fewer, "the end of a tunnel");

  await page.goto(gateway.admin);
  check(await tabTo(page, "#pause"), "keyboard: the pause button gets the focus");
  await page.keyboard.press("Enter");
  await shows("Paused.");
  await page.keyboard.press("Enter");
}

/** Whether the page is as wide as its window, so that only tables scroll sideways. */
function fits() {
  return document.documentElement.scrollWidth <= window.innerWidth;
}

async function oneOfThreeDown(browser) {
  const upstreams = [await echoUpstream(), await echoUpstream(), await downUpstream()];
  const args = upstreams.map((url) => `--upstream=${url}`);
  const gateway = await startGateway([...args, "--keep-alive=1s", "--probe=tcp", "--drain-spread=0s"]);
  const sockets = await openMany(gateway, 12);
  sockets.forEach((socket, at) => socket.send("a".repeat(100 * at)));
  sockets.pop().terminate();
  sockets.pop().close(4001, "enough");

  const page = await browser.page();
  await page.setViewportSize({ width: 1440, height: 1100 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(gateway.admin);
  await page.locator("td.state.bad").waitFor();
  await page.getByText("2 of 3").waitFor();
  // After the first round trips and both ends.
  await page.getByText(/[0-9] (µs|ms) \/ [0-9]/).first().waitFor();
  await page.getByText("client 4001").first().waitFor();
  check(await page.evaluate(fits), "wide: only tables scroll sideways");
  await accessible(page, "wide and light");
  await shoot(page, "wide-light");

  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: "dark" });
  check(await page.evaluate(fits), "narrow: only tables scroll sideways");
  await accessible(page, "narrow and dark");
  await shoot(page, "narrow-dark");

  await page.goto(gateway.admin);
  await byKeyboard(page, gateway);
  await page.close();
  await withoutScript(gateway);
  sockets.forEach((socket) => socket.close());
  same(await gateway.stop(), 0, "the gateway ends in good order");
}

async function withoutScript(gateway) {
  const response = await fetch(gateway.admin);
  const text = await response.text();
  check(text.includes("Upstreams in use"), "without a script: the figures are in the page");
  check(text.includes('http-equiv="refresh"'), "without a script: the page reloads itself");
}

async function drainOfMany(browser) {
  const args = ["--upstream-http=2", "--keep-alive=20s", "--drain-timeout=60s", "--drain-spread=30s"];
  const gateway = await startGateway([`--upstream=${await http2Upstream()}`, ...args]);
  const sockets = await openMany(gateway, Number(TUNNELS));
  const page = await browser.page();
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(gateway.admin);
  await page.getByText("Open tunnels").first().waitFor();
  gateway.child.kill("SIGTERM");
  await page.getByRole("alert").waitFor();
  const ready = await fetch(new URL("/readyz", gateway.admin));
  same(ready.status, 503, "in a drain: not ready");
  await shoot(page, "draining");
  await accessible(page, "in a drain");
  check((await page.locator("tbody tr[data-key^='0-']").count()) <= 200, "in a drain: 200 rows");
  await within(gateway.ended, "the end of the drain", 120_000);
  const codes = await Promise.all(sockets.map((socket) => socket.readyState));
  same(codes.filter((state) => state === WebSocket.OPEN).length, 0, "the drain ends all tunnels");
  await page.close();
}

const browser = await launch();
await oneOfThreeDown(browser);
await drainOfMany(browser);
await browser.close();
end();
