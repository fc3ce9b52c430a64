// The status page in Chromium: readable without a script, live with one, usable by keyboard alone,
// and without findings of axe-core at the levels serious and critical; with an upstream that is
// down, on a narrow and dark screen, after moves and reattachments, and in a drain of many tunnels.
// Then the page of the demo, whose upstream is killed and started again.
//
// SCREENSHOTS names a folder for pictures of the pages. TUNNELS is the number of tunnels in the
// drain, 1,000 by default. EXAMPLE is the path of the status package's example `admin_listener`, for
// a picture of tunnels with keys.

import { once } from "node:events";
import { createRequire } from "node:module";
import http2 from "node:http2";
import net from "node:net";
import { join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { launch } from "./chromium.mjs";
import { Program, check, end, same, skip, until, within } from "./kit.mjs";

const { EXAMPLE, SCREENSHOTS, TUNNELS = "1000" } = process.env;
const AXE = createRequire(import.meta.url).resolve("axe-core");

/** An upstream that echoes, and drops the connection of a client that sends "drop". */
async function echoUpstream() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => {
    socket.on("message", (data) => (`${data}` === "drop" ? socket.terminate() : socket.send(data)));
  });
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

/** Waits until the clients know that their tunnels are closed, which the gateway knows before. */
function allClosed(sockets, what) {
  return until(() => sockets.every((socket) => socket.readyState !== WebSocket.OPEN), what);
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

/** A proxy in between answers with an error once, after which a browser does not ask again itself. */
async function afterARefusal(page, gateway) {
  const events = /view=events/;
  await page.route(events, (route) => route.fulfill({ status: 502, body: "no gateway" }));
  await page.goto(gateway.admin);
  const lost = page.getByText("Connection lost; trying again.");
  await lost.waitFor();
  await page.unroute(events);
  await lost.waitFor({ state: "detached" });
  check(true, "after a refusal: the page asks again, and its figures are new");
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
  await afterARefusal(page, gateway);
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

/** Tunnels whose upstream drops them, and those of an upstream that is drained, live on. */
async function movesAndReattachments(browser) {
  const upstreams = [await echoUpstream(), await echoUpstream()];
  const args = upstreams.map((url) => `--upstream=${url}`);
  const reattach = ["--reattach=10s", "--move-spread=0s", "--drain-spread=0s"];
  const gateway = await startGateway([...args, "--keep-alive=1s", ...reattach]);
  const sockets = await openMany(gateway, 8);
  const page = await browser.page();
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
  page.on("dialog", (dialog) => dialog.accept());
  await page.goto(gateway.admin);

  sockets[0].send("drop");
  await page.getByText("1 reattached elsewhere").waitFor();
  await page.locator("button[aria-label^=Drain]").first().click();
  await page.getByText(/[0-9] moved away/).waitFor();
  await page.getByText("Done.").waitFor({ state: "detached" });
  check(sockets.every((socket) => socket.readyState === WebSocket.OPEN), "moves: no client is lost");
  check(await page.evaluate(fits), "moves: only tables scroll sideways");
  await accessible(page, "moves");
  await shoot(page, "moves");
  await page.close();
  sockets.forEach((socket) => socket.close());
  same(await gateway.stop(), 0, "the gateway ends in good order");
}

/** Whether nothing listens on a port. */
async function isFree(port) {
  const socket = net.connect(port, "127.0.0.1");
  const isRefused = await new Promise((resolve) => {
    socket.once("connect", () => resolve(false));
    socket.once("error", () => resolve(true));
  });
  socket.destroy();
  return isRefused;
}

/** The tunnels of a key are closed, and no others; at the ports of the example. */
async function tunnelsOfKeys(browser) {
  for (const port of [3000, 9000]) {
    if (!(await isFree(port))) {
      skip(`the tunnels of keys, for which port ${port} must be free`);
      return;
    }
  }
  const upstreams = [await echoUpstream(), await echoUpstream()];
  const example = new Program(EXAMPLE, upstreams);
  const [, admin] = await example.said(/^status: (http:\S+)/);
  const sockets = [];
  for (const user of ["ada", "ada", "ada", "grace", "linus"]) {
    sockets.push(await open({ address: "127.0.0.1:3000" }, `room?user=${user}`));
  }
  const page = await browser.page();
  await page.setViewportSize({ width: 1440, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
  page.on("dialog", (dialog) => dialog.accept());
  await page.goto(admin);
  const buttons = page.locator("button[aria-label='Close all tunnels of ada']");
  await buttons.first().waitFor();
  same(await buttons.count(), 3, "keys: each tunnel of a key has the button");
  await accessible(page, "keys");
  await shoot(page, "keys");
  await buttons.first().click();
  await buttons.first().waitFor({ state: "detached" });
  await allClosed(sockets.slice(0, 3), "ends of the key's tunnels");
  const isOpen = (socket) => socket.readyState === WebSocket.OPEN;
  same(sockets.map(isOpen), [false, false, false, true, true], "keys: the key's tunnels are closed");
  await page.close();
  await example.stop();
}

/** The demo's page keeps its WebSocket while the upstream is killed and started again. */
async function killAndStart(browser) {
  const gateway = await startGateway([]);
  const page = await browser.page();
  await page.setViewportSize({ width: 1180, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(`http://${gateway.address}`);
  const shows = (text) => page.locator("#log").getByText(text).first().waitFor();
  await page.getByText(/^[0-9.]+ (µs|ms)$/).nth(1).waitFor();

  await page.getByRole("button", { name: "Kill the upstream" }).click();
  await shows("This connection waits for it.");
  await page.locator("#text").fill("sent while the upstream was down");
  await page.locator("#send").click();
  await page.getByRole("button", { name: "Start the upstream" }).click();
  await shows("This connection goes on.");
  await shows(/^back in /);
  check(await page.evaluate(fits), "demo: nothing scrolls sideways");
  await accessible(page, "demo");
  await shoot(page, "demo");
  await page.close();
  same(await gateway.stop(), 0, "the demo ends in good order");
}

async function drainOfMany(browser) {
  // No pings: this upstream answers none, and is to be there until the drain's end.
  const args = ["--upstream-http=2", "--keep-alive=off", "--drain-timeout=60s", "--drain-spread=15s"];
  const gateway = await startGateway([`--upstream=${await http2Upstream()}`, ...args]);
  const sockets = await openMany(gateway, Number(TUNNELS));
  const page = await browser.page();
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(gateway.admin);
  await page.getByText("Open tunnels").first().waitFor();
  const closed = Promise.all(sockets.map((socket) => once(socket, "close")));
  gateway.child.kill("SIGTERM");
  await page.getByRole("alert").waitFor();
  const ready = await fetch(new URL("/readyz", gateway.admin));
  same(ready.status, 503, "in a drain: not ready");
  await shoot(page, "draining");
  await accessible(page, "in a drain");
  check((await page.locator("tbody tr[data-key^='0-']").count()) <= 200, "in a drain: 200 rows");
  await within(gateway.ended, "the end of the drain", 120_000);
  const codes = (await within(closed, "ends of the tunnels")).map(([code]) => code);
  same([codes.length, ...new Set(codes)], [Number(TUNNELS), 1001], "the drain ends all tunnels");
  await page.close();
}

const browser = await launch();
await oneOfThreeDown(browser);
await movesAndReattachments(browser);
if (EXAMPLE) await tunnelsOfKeys(browser);
await killAndStart(browser);
await drainOfMany(browser);
await browser.close();
end();
