// Measures the dashboard over a store of the size that hurts: many queues, and a long failed list.
//
//   node scale.js [ENTRIES] [QUEUES] [HOSTS] [PLUGINS]     by default 300,000 entries of 2 KiB, 200 queues, 100 hosts, each of which
//                                                           reports 1,000 plugins
//
// Prints how long the first page takes in a browser, how long the index takes to be made, what the process holds, the slowest
// command of Redis meanwhile, and how long a filter and a bulk retry of a third take.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Room, openBrowser, trapped, until } from "./room.js";

const entries = Number(process.argv[2] ?? 300_000);
const queues = Number(process.argv[3] ?? 200);
const hosts = Number(process.argv[4] ?? 100);
const plugins = Number(process.argv[5] ?? 1_000);
const BYTES = 2_048;

const room = await Room.open([], false);
const browser = await openBrowser();
const port = room.redis.port;
const redis = (...words) => execFileSync("redis-cli", ["-p", port, ...words.map(String)], { encoding: "utf8", maxBuffer: 1 << 28 });

function slowest() {
  const log = redis("--json", "SLOWLOG", "GET", "1000");
  const calls = JSON.parse(log).map((call) => ({ us: call[2], what: call[3].slice(0, 1).concat(call[3].slice(3, 4)).join(" ").slice(0, 60) }));
  calls.sort((a, b) => b.us - a.us);
  return calls[0] ? `${(calls[0].us / 1000).toFixed(1)} ms (${calls[0].what})` : "under 0.5 ms";
}

const commands = () => Number(/total_commands_processed:(\d+)/.exec(redis("INFO", "stats"))[1]);
const rss = () => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${room.dashboard.pid}/status`, "utf8"))[1]) / 1024);
const show = (what, value) => console.log(what.padEnd(46), value);

// Reports as hosts make them, but for that they last.
async function report() {
  const now = new Date().toISOString();
  const version = (n) => ({
    digest: n.toString(16).padStart(12, "0"), version: "1.4.2", jobs: [`plugin-${n}`], grants: ["http https://api.example.com GET"], bytes: 180_000, load_ms: 210,
    since: now, in_flight: n % 3, attempts: 1_000 + n, failures: { trap: n % 5 }, last_error: null, peak_memory_bytes: 9_000_000, max_memory_bytes: 67_108_864,
    longest_ms: 120, timeout_ms: 30_000, aside: null, instead: null,
  });
  const all = Array.from({ length: plugins }, (_, n) => ({ name: `plugin-${n}`, fault: null, faults: 0, serving: version(n) }));
  const text = JSON.stringify({ since: now, at: now, plugins: all });
  for (let n = 0; n < hosts; n++) await room.redis.send(["SET", `queue:hosts:host-${n}`, text], ["ZADD", "queue:hosts", Date.now() / 1000, `host-${n}`]);
  return text.length;
}

try {
  for (let at = 0; at < entries; at += 5_000) {
    const some = [];
    for (let n = at; n < Math.min(at + 5_000, entries); n++) {
      const entry = trapped(`job-${n}`, `plugin-${n % 30}`, `place_${n % 7}`, (entries - n) / 1_000);
      entry.payload.fill = "x".repeat(Math.max(0, BYTES - JSON.stringify(entry).length - 10));
      some.push(JSON.stringify(entry));
    }
    await room.redis.send(["RPUSH", "queue:failed", ...some]);
  }
  for (let n = 0; n < queues; n++) await room.push(`queue-${n}`, { id: `q${n}`, name: "nobody" });
  show(`report of one of ${hosts} hosts on ${plugins} plugins`, `${Math.round((await report()) / 1024)} KiB`);
  redis("CONFIG", "SET", "slowlog-log-slower-than", "500");
  redis("CONFIG", "SET", "slowlog-max-len", "1000");
  await room.serve();
  redis("SLOWLOG", "RESET");
  const tab = await browser.newPage();
  const opened = async (path) => {
    await tab.goto(new URL(path, room.address).href);
    const paint = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    return `${Math.round(await until("a paint", () => tab.evaluate(paint)))} ms`;
  };
  const began = Date.now();
  show("first paint of the first page, nothing known", await opened("/"));
  await until("the index", async () => (await room.api("/failed?limit=1")).index.building === false, 600_000);
  show(`index of ${entries.toLocaleString("en")} entries made in`, `${((Date.now() - began) / 1000).toFixed(1)} s`);
  show("slowest command of Redis meanwhile", slowest());
  redis("SLOWLOG", "RESET");
  show("memory of kiln serve", `${rss()} MiB`);
  for (const path of ["/", "/queues", "/plugins", "/plugins?text=plugin-999", "/hosts", "/failed", "/failed?text=index+out", `/jobs/job-${Math.floor(entries / 2)}`]) show(`first paint of ${path}`, await opened(path));
  const calls = commands();
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  show("commands a second while one tab looks", ((commands() - calls) / 10).toFixed(0));
  show("slowest command of Redis meanwhile", slowest());
  redis("SLOWLOG", "RESET");
  const retried = Date.now();
  const asked = { act: "retry", filter: { text: "job-1" } };
  const answer = await fetch(new URL("/api/v1/bulk", room.address), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) });
  const { id } = await answer.json();
  const done = await until("the work", async () => {
    const bulk = await room.api(`/bulk/${id}`);
    return bulk.state !== "running" && bulk;
  }, 900_000);
  show(`retry of ${done.progress.done.toLocaleString("en")} by a filter`, `${((Date.now() - retried) / 1000).toFixed(1)} s, ${done.state}`);
  show("slowest command of Redis meanwhile", slowest());
  show("memory of kiln serve", `${rss()} MiB`);
} finally {
  await browser.close();
  await room.close();
}
