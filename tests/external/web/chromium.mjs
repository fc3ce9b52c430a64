// Debian's Chromium, driven by Playwright.

import { chromium } from "playwright-core";
import { SOON, folder } from "./kit.mjs";

/** A browser with a profile of its own; `flags` are more of its options. */
export async function launch(flags = []) {
  const context = await chromium.launchPersistentContext(folder("chromium"), {
    executablePath: process.env.CHROMIUM,
    timeout: 2 * SOON,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--ignore-certificate-errors",
      ...flags,
    ],
  });
  context.setDefaultTimeout(SOON);
  return {
    page: () => context.newPage(),
    close: () => context.close(),
  };
}
