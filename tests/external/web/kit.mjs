// What the suites share that run on Node.js: programs that end with their suite, waits that end,
// and a count of checks.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

// How long anything may take that is expected to happen at once, in milliseconds. A browser on a
// busy machine needs some of it.
export const SOON = 30_000;

const running = new Set();
const folders = [];
const counts = { passed: 0, failed: 0 };

process.on("exit", () => {
  running.forEach((child) => child.kill("SIGKILL"));
  // What was killed just now may still write.
  const forcibly = { recursive: true, force: true, maxRetries: 5 };
  folders.forEach((folder) => rmSync(folder, forcibly));
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** Counts a check, and says how it went. */
export function check(fine, what, seen) {
  counts[fine ? "passed" : "failed"] += 1;
  const instead = fine || seen === undefined ? "" : `: ${JSON.stringify(seen)}`;
  console.log(`${fine ? "ok    " : "FAILED"} ${what}${instead}`);
}

/** Checks that two values are the same, as JSON shows them. */
export function same(seen, wanted, what) {
  check(JSON.stringify(seen) === JSON.stringify(wanted), what, seen);
}

export function skip(why) {
  console.log(`SKIPPED: ${why}`);
}

/** Prints the closing line, and ends the program. */
export function end() {
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed || !counts.passed ? 1 : 0);
}

/** A new folder that goes with the program. */
export function folder(name) {
  const path = realpathSync(mkdtempSync(join(tmpdir(), `${name}-`)));
  folders.push(path);
  return path;
}

/** What the promise gives, or an error that names it after `time` milliseconds. */
export function within(promise, what, time = SOON) {
  const late = sleep(time, undefined, { ref: false }).then(() => {
    throw new Error(`${what}: not within ${time} ms`);
  });
  return Promise.race([promise, late]);
}

/** Waits until the function gives something true, and gives that. */
export async function until(ask, what, time = SOON) {
  const last = performance.now() + time;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > last) throw new Error(`${what}: not within ${time} ms`);
    await sleep(20);
  }
}

/**
 * Checks that a function comes to give `wanted`: what another process says of an event arrives
 * later than what this one sees of it.
 */
export async function comes(ask, wanted, what) {
  const there = () => JSON.stringify(ask()) === JSON.stringify(wanted);
  await until(there, what).catch(() => undefined);
  same(ask(), wanted, what);
}

/** A running program, and what it has said so far, by lines. */
export class Program {
  constructor(command, args, options = {}) {
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    this.lines = [];
    this.errors = [];
    for (const [stream, lines] of [
      [this.child.stdout, this.lines],
      [this.child.stderr, this.errors],
    ]) {
      readline.createInterface({ input: stream }).on("line", (line) => lines.push(line));
    }
    running.add(this.child);
    this.ended = once(this.child, "exit").then(([code, signal]) => {
      running.delete(this.child);
      return code ?? signal;
    });
  }

  /** The first match in what it says, on either of its streams. */
  said(pattern) {
    const find = () => {
      for (const line of [...this.lines, ...this.errors]) {
        const match = line.match(pattern);
        if (match) return match;
      }
      if (this.child.exitCode !== null) throw new Error(`ended: ${this.errors.join("\n")}`);
    };
    return until(find, `${pattern}`);
  }

  /** Sends a signal; how it ended. */
  stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return within(this.ended, `end of ${this.child.spawnfile}`);
  }
}

/** The gateway, with TLS if there is a certificate in the folder that CERTIFICATE names. */
export class Gateway extends Program {
  static async start(args, { port = 0, tls = false } = {}) {
    const listen = [`--listen=127.0.0.1:${port}`, "--drain-spread=0s"];
    const { CERTIFICATE } = process.env;
    const secured = [
      "--tls-listen=127.0.0.1:0",
      `--tls-cert=${CERTIFICATE}/chain.pem`,
      `--tls-key=${CERTIFICATE}/key.pem`,
    ];
    const all = [...listen, ...(tls ? secured : []), ...args];
    const gateway = new Gateway(process.env.GATEWAY, all);
    gateway.plain = (await gateway.said(/^listening on (http:.*)/))[1];
    gateway.port = Number(new URL(gateway.plain).port);
    if (tls) gateway.secured = (await gateway.said(/^listening on (https:.*)/))[1];
    return gateway;
  }
}
