// Debian's Firefox, driven by WebDriver BiDi: as much of it as the suite needs.

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import WebSocket from "ws";
import { Program, SOON, folder, within } from "./kit.mjs";

/** The commands of a session, and their answers. */
class Session {
  #asked = new Map();
  #number = 0;

  constructor(socket) {
    this.socket = socket;
    socket.on("message", (text) => {
      const { id, type, result, message } = JSON.parse(text);
      const [resolve, reject] = this.#asked.get(id) ?? [];
      this.#asked.delete(id);
      if (type === "success") resolve?.(result);
      else if (type === "error") reject?.(new Error(message));
    });
  }

  ask(method, params) {
    const id = (this.#number += 1);
    const answer = new Promise((...both) => this.#asked.set(id, both));
    this.socket.send(JSON.stringify({ id, method, params }));
    return within(answer, method, 2 * SOON);
  }
}

/** A browser with a profile of its own, and these preferences. */
export async function launch(preferences = {}) {
  const profile = folder("firefox");
  const all = {
    "app.update.enabled": false,
    "browser.shell.checkDefaultBrowser": false,
    "datareporting.policy.dataSubmissionEnabled": false,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": false,
    ...preferences,
  };
  const line = ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`;
  writeFileSync(join(profile, "user.js"), Object.entries(all).map(line).join(""));
  const firefox = new Program(
    process.env.FIREFOX,
    ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile, "about:blank"],
    // Its sandbox wants namespaces, which containers do not give; what it opens is our own page.
    { env: { ...process.env, HOME: profile, MOZ_DISABLE_CONTENT_SANDBOX: "1" } },
  );
  const [, address] = await firefox.said(/WebDriver BiDi listening on (ws:\S+)/);
  const socket = new WebSocket(`${address}/session`);
  await within(once(socket, "open"), "WebDriver BiDi");
  const session = new Session(socket);
  await session.ask("session.new", {
    capabilities: { alwaysMatch: { acceptInsecureCerts: true } },
  });
  return {
    page: async () => {
      const { context } = await session.ask("browsingContext.create", { type: "tab" });
      return {
        goto: (url) => session.ask("browsingContext.navigate", { context, url, wait: "complete" }),
        evaluate: async (does, argument) => {
          const text = `(${does})(${JSON.stringify(argument ?? null)})`;
          const { result, exceptionDetails } = await session.ask("script.evaluate", {
            expression: `Promise.resolve(${text}).then((value) => JSON.stringify(value ?? null))`,
            target: { context },
            awaitPromise: true,
          });
          if (exceptionDetails) throw new Error(exceptionDetails.text);
          return JSON.parse(result.value);
        },
      };
    },
    close: async () => {
      socket.terminate();
      await firefox.stop();
    },
  };
}
