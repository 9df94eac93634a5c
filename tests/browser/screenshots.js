// Draws the pages of the dashboard, for docs/dashboard.md and for whoever changes them.
//
//   node screenshots.js [FOLDER]     by default docs/dashboard

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Room, openBrowser, plugins, trapped, until } from "./room.js";

const root = new URL("../..", import.meta.url).pathname;
const into = process.argv[2] ?? join(root, "docs/dashboard");
const all = process.argv.includes("--all");

// A fixed order of numbers that look random, so that every run draws the same.
let seed = 7;
const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;

const PAGES = [
  ["overview", "/"],
  ["queues", "/queues"],
  ["queue", "/queues/default"],
  ["lanes", "/queues/emails/lanes"],
  ["batch", "/batches/import-7"],
  ["batches", "/batches"],
  ["failed", "/failed"],
  ["job", "/jobs/thumb-3"],
  ["confirm", "/failed/bulk?act=retry&plugin=thumbnail"],
  ["bulk", "bulk"],
  ["tried", "tried"],
  ["plugins", "/plugins"],
  ["hosts", "/hosts"],
  ["schedules", "/schedules"],
  ["statistics", "/stats?since=1h"],
  ["audit", "/audit"],
  ["api", "/api/v1"],
  ["nothing", "/jobs/nobody"],
];
// What the documentation shows.
const SHOWN = [["tried", "light", 1280], ["overview", "light", 1280], ["overview", "dark", 1280], ["failed", "light", 1280], ["job", "light", 1280], ["overview", "light", 390]];

const room = await Room.open();
const browser = await openBrowser();
try {
  await fill();
  mkdirSync(into, { recursive: true });
  const begunPages = { bulk: await begun(), tried: await tried() };
  for (const scheme of ["light", "dark"]) {
    for (const width of [1280, 390]) {
      const context = await browser.newContext({ viewport: { width, height: width > 600 ? 860 : 844 }, colorScheme: scheme, deviceScaleFactor: width > 600 ? 1 : 2 });
      const tab = await context.newPage();
      // What is not compiled in yet can be looked at, too.
      if (process.env.KILN_STYLE) await tab.route(/kiln\.css/, (route) => route.fulfill({ contentType: "text/css", body: readFileSync(process.env.KILN_STYLE, "utf8") }));
      for (const [name, path] of PAGES) {
        if (!all && !SHOWN.some(([of, as, wide]) => of === name && as === scheme && wide === width)) continue;
        await tab.goto(new URL(begunPages[path] ?? path, room.address).href);
        await tab.waitForTimeout(all ? 100 : 3_000);
        await tab.screenshot({ path: join(into, `${name}-${scheme}-${width}.png`), fullPage: name !== "api" && all });
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
  await room.close();
}

// An afternoon on which a new version of a plugin fails, one queue has lost its workers, and another is paused.
async function fill() {
  const entries = [];
  for (let n = 0; n < 640; n++) entries.push(trapped(`thumb-${n}`, "thumbnail", n % 9 ? "thumbnail::resize::crop" : "thumbnail::decode", 14 * random() ** 1.5, "9b12f00dcafe"));
  for (let n = 0; n < 70; n++) entries.push(failed(`mail-${n}`, "send-email", "error", `connection to 10.0.0.${n}:25 timed out after ${n % 30} s`, 60 * random(), "emails"));
  for (let n = 0; n < 26; n++) entries.push(failed(`fax-${n}`, "send-fax", "unknown-job", 'no plugin handles "send-fax"', 60 * random(), "default"));
  for (let n = 0; n < 41; n++) entries.push(failed(`report-${n}`, "report", "memory", "wanted 68,157,440 bytes of linear memory, at most 67,108,864 are allowed", 60 * random(), "reports"));
  for (let n = 0; n < 9; n++) entries.push(failed(`hook-${n}`, "webhook", "denied", `http request to https://api${n % 3}.example.org: not granted; add [[grants.http]] origin = "https://api${n % 3}.example.org" to webhook.toml`, 60 * random(), "default"));
  entries.sort((a, b) => a.failed_at.localeCompare(b.failed_at));
  await room.fail(...entries);
  await room.work("--queue", "default=3", "--queue", "emails", "--queue", "reports", "--concurrency", "24");
  await room.work("--queue", "default", "--queue", "thumbnails", "--concurrency", "24");
  const now = new Date().toISOString();
  const job = (id, name, payload, more = {}) => ({ id, name, payload, attempts: 0, created_at: now, available_at: now, ...more });
  const sleep = (n, ms) => job(`s${n}`, "mischief", { do: "sleep", ms: Math.floor(ms) });
  await room.push("emails", ...Array.from({ length: 180 }, (_, n) => sleep(n, 1_000 + 3_000 * random())));
  await room.push("default", ...Array.from({ length: 400 }, (_, n) => sleep(1000 + n, 300 + 900 * random())));
  const late = new Date(Date.now() - 25 * 60_000).toISOString();
  await room.push("imports", ...Array.from({ length: 1_204 }, (_, n) => job(`i${n}`, "import-orders", { shop: n }, { created_at: late, available_at: late })));
  await room.push("newsletter", ...Array.from({ length: 12 }, (_, n) => job(`n${n}`, "send-email", { to: n })));
  for (const [queue, reason] of [["newsletter", "wait for the new template"]]) {
    await room.ask(`/api/v1/queues/${queue}/pause`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ reason }) });
  }
  for (let minute = 1; minute < 9; minute++) {
    const job = JSON.stringify({ id: `d${minute}`, name: "report", payload: { month: minute } });
    await room.redis.send(["ZADD", "queue:queues:reports:delayed", Date.now() / 1000 + minute * 700, job]);
  }
  for (let n = 0; n < 12; n++) {
    const jobs = Array.from({ length: 1 + Math.floor(40 * random()) }, (_, m) => job(`lane-${n}-${m}`, "send-email", { to: n }));
    await room.wait("emails", "send-email", `/customer=${["acme", "bolt", "cliff"][n % 3]}-${n}|*`, jobs, n % 4 > 0);
  }
  const member = (n) => job(`member-${n}`, n % 7 ? "hello" : "mischief", n % 7 ? { to: "you" } : { do: "panic" }, { max_attempts: 1, metadata: { kiln: { batch: { id: "import-7", of: 60 } } } });
  await room.push("default", ...Array.from({ length: 40 }, (_, n) => member(n)));
  await room.push("default", ...Array.from({ length: 30 }, (_, n) => job(`p${n}`, "mischief", { do: "panic", message: "no such order" }, { max_attempts: 1 })));
  await until("the failed list is known", async () => (await room.api("/failed")).index?.building === false);
  // Some samples, for the charts.
  await room.api("/overview");
  for (let n = 0; n < 12; n++) {
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await room.api("/overview");
    await room.push("default", ...Array.from({ length: 30 + Math.floor(60 * random()) }, (_, m) => sleep(2000 + 100 * n + m, 200 + 900 * random())));
  }
}

function failed(id, name, kind, message, minutesAgo, queue) {
  const entry = trapped(id, name, "", minutesAgo, "41d8c0ffee11", message);
  entry.queue = queue;
  entry.error = `${kind}: ${message}`;
  entry.failure.kind = kind;
  delete entry.failure.backtrace;
  delete entry.failure.stderr;
  return entry;
}

async function begun() {
  const asked = { act: "retry", filter: { plugin: "send-fax" } };
  const answer = await room.ask("/api/v1/bulk", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) });
  return `/bulk/${(await answer.json()).id}`;
}

// A job that failed on one version, tried on another.
async function tried() {
  await until("a panic", async () => (await room.api("/failed/p3")).state === "failed");
  const component = readFileSync(join(plugins, "hello.wasm"));
  const answer = await room.ask("/api/v1/failed/p3/try", { method: "POST", headers: { "content-type": "application/wasm" }, body: component });
  return `/tries/${(await answer.json()).id}`;
}
