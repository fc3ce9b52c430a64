// A Vite dev server behind the gateway: Chromium loads its page, a module changes, and the page
// shows that without a reload; plain, and over HTTP/2 with TLS. The browser can reach Vite itself,
// and Vite's client would try that if its socket failed here: so the socket's address counts.

import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.mjs";
import { Gateway, Program, check, end, folder, same, until } from "./kit.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const site = folder("vite-site");
cpSync(here("vite-site"), site, { recursive: true });
const save = (word) => writeFileSync(join(site, "word.js"), `export const word = "${word}";\n`);

/** Saves a word until the page shows it: Vite overlooks what is saved within 50 ms of a change. */
async function change(word, shown, what) {
  let saved = -Infinity;
  await until(async () => {
    if (performance.now() - saved > 500) {
      save(word);
      saved = performance.now();
    }
    return (await shown()) === word;
  }, what);
  check(true, what);
}

const vite = new Program(
  process.execPath,
  [here("node_modules/vite/bin/vite.js"), "--host=127.0.0.1", "--port=0", "--clearScreen=false"],
  { cwd: site, env: { ...process.env, NO_COLOR: "1" } },
);
const [, address] = await vite.said(/(http:\/\/127\.0\.0\.1:\d+)/);

const args = [`--upstream=${address}`, "--route=*", "--forward-http", "--drain-timeout=5s"];
const gateway = await Gateway.start(args, { tls: true });
const browser = await launch();

let word = "zero";
for (const [name, url, protocol, words] of [
  ["plain", gateway.plain, "http/1.1", ["one", "two"]],
  ["TLS, HTTP/2", gateway.secured, "h2", ["three", "four"]],
]) {
  const page = await browser.page();
  const sockets = [];
  const troubles = [];
  page.on("websocket", (socket) => {
    const heard = [];
    sockets.push({ url: socket.url(), heard });
    socket.on("framereceived", ({ payload }) => heard.push(`${payload}`));
  });
  page.on("pageerror", (error) => troubles.push(`${error}`));
  page.on("requestfailed", (request) => troubles.push(request.url()));
  await page.goto(`${url}/`);
  const shown = () => page.textContent("#word");
  await until(async () => (await shown()) === word, `${name}: the page`);
  const spoken = await page.evaluate(
    () => performance.getEntriesByType("navigation")[0].nextHopProtocol,
  );
  same(spoken, protocol, `${name}: the page comes over ${protocol}`);
  const greeted = () => sockets.some(({ heard }) => heard.includes('{"type":"connected"}'));
  check(await until(greeted, `${name}: Vite's socket`), `${name}: Vite's socket is open`);
  await page.evaluate(() => (window.sinceTheLoad = true));
  for (word of words) await change(word, shown, `${name}: the page shows the new word "${word}"`);
  check(await page.evaluate(() => window.sinceTheLoad === true), `${name}: it was not reloaded`);
  const hosts = sockets.map((socket) => new URL(socket.url).host);
  same(hosts, [new URL(url).host], `${name}: its one socket went through the gateway`);
  same(troubles, [], `${name}: nothing failed`);
  await page.close();
}

await browser.close();
same(await gateway.stop(), 0, "the gateway ends in good order");
await vite.stop();
end();
