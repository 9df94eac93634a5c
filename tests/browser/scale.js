// Measures the dashboard over a store of the size that hurts: many queues, and a long failed list.
//
//   node scale.js [ENTRIES] [QUEUES] [HOSTS] [PLUGINS]     by default 300,000 entries of 2 KiB, 200 queues, 100 hosts, each of which
//                                                           reports 1,000 plugins
//
// Prints how long each page takes in a browser until it is painted and at the server until it is answered, how long the index
// takes to be made, what the process holds, the slowest command of Redis meanwhile, and how long a bulk retry of a third takes.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Room, openBrowser, trapped, until } from "./room.js";

const entries = Number(process.argv[2] ?? 300_000);
const queues = Number(process.argv[3] ?? 200);
const hosts = Number(process.argv[4] ?? 100);
const plugins = Number(process.argv[5] ?? 1_000);
const BYTES = 2_048;

const browser = await openBrowser();
const room = await Room.open([], false);
const port = room.redis.port;
// Where that is allowed Redis goes before all others, so that its commands take what they take and not what the machine does.
try {
  execFileSync("chrt", ["--fifo", "--pid", "1", String(room.processes[0].pid)], { stdio: "ignore" });
} catch {
  console.log("Redis runs with the priority of all others");
}
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

// Reports as hosts make them: a catalogue that all share, and of each host what it has counted.
const catalogue = "ab12ab12ab12ab12";
const facts = (n) => ({
  digest: n.toString(16).padStart(12, "0"), version: "1.4.2", jobs: [`plugin-${n}`], grants: ["http https://api.example.com GET"], bytes: 180_000,
  max_memory_bytes: 67_108_864, timeout_ms: 30_000,
});
const since = Date.now();
let reported = 0;

async function report(host) {
  const all = Array.from({ length: plugins }, (_, n) => n);
  reported += 1;
  const more = Object.fromEntries(all.filter((n) => n % 5).map((n) => [n, { failures: { trap: n % 5 } }]));
  const counts = all.map((n) => [since, 210, n % 3, 1_000 + n + reported, 9_000_000, 120]);
  const now = new Date();
  const text = JSON.stringify({ since: new Date(since).toISOString(), at: now.toISOString(), catalogue, counts, more });
  await room.redis.send(["SET", `queue:hosts:host-${host}`, text], ["ZADD", "queue:hosts", now / 1000, `host-${host}`]);
  return text.length;
}

// Each host reports every five seconds, one after the other.
let ended = false;
async function keepReporting() {
  for (let host = 0; !ended; host = (host + 1) % hosts) {
    await report(host);
    await new Promise((resolve) => setTimeout(resolve, 5_000 / hosts));
  }
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
  const named = JSON.stringify(Array.from({ length: plugins }, (_, n) => [`plugin-${n}`, facts(n)]));
  await room.redis.send(["SET", `queue:catalogue:${catalogue}`, named]);
  let bytes = 0;
  for (let host = 0; host < hosts; host++) bytes = await report(host);
  show(`report of one of ${hosts} hosts on ${plugins} plugins`, `${Math.round(bytes / 1024)} KiB, and ${Math.round(named.length / 1024)} KiB for all`);
  const reporting = hosts > 0 ? keepReporting() : undefined;
  redis("CONFIG", "SET", "slowlog-log-slower-than", "500");
  redis("CONFIG", "SET", "slowlog-max-len", "1000");
  await room.serve();
  redis("SLOWLOG", "RESET");
  const tab = await browser.newPage();
  const opened = async (path) => {
    await tab.goto(new URL(path, room.address).href);
    const paint = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const answered = () => {
      const { requestStart, responseEnd } = performance.getEntriesByType("navigation")[0];
      return responseEnd - requestStart;
    };
    const painted = Math.round(await until("a paint", () => tab.evaluate(paint)));
    return `${painted} ms, answered in ${Math.round(await tab.evaluate(answered))} ms`;
  };
  const began = Date.now();
  show("first paint of the first page, nothing known", await opened("/"));
  await until("the index", async () => (await room.api("/failed?limit=1")).index.building === false, 600_000);
  show(`index of ${entries.toLocaleString("en")} entries made in`, `${((Date.now() - began) / 1000).toFixed(1)} s`);
  show("slowest command of Redis meanwhile", slowest());
  redis("SLOWLOG", "RESET");
  show("memory of kiln serve", `${rss()} MiB`);
  const paths = ["/", "/queues", "/queues/queue-7", "/plugins", "/plugins?text=plugin-999", "/hosts", "/schedules", "/stats", "/failed"];
  paths.push("/failed?text=index+out", "/failed?plugin=plugin-7", `/jobs/job-${Math.floor(entries / 2)}`, "/jobs/nowhere", "/audit");
  for (const path of paths) show(`first paint of ${path}`, await opened(path));
  const calls = commands();
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  show("commands a second while one tab looks", ((commands() - calls) / 10).toFixed(0));
  show("slowest command of Redis meanwhile", slowest());
  redis("SLOWLOG", "RESET");
  const retried = Date.now();
  const asked = { act: "retry", filter: { text: "job-1" } };
  const answer = await room.ask("/api/v1/bulk", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) });
  const { id } = await answer.json();
  const done = await until("the work", async () => {
    const bulk = await room.api(`/bulk/${id}`);
    return bulk.state !== "running" && bulk;
  }, 900_000);
  show(`retry of ${done.progress.done.toLocaleString("en")} by a filter`, `${((Date.now() - retried) / 1000).toFixed(1)} s, ${done.state}`);
  show("slowest command of Redis meanwhile", slowest());
  show("memory of kiln serve", `${rss()} MiB`);
  ended = true;
  await reporting;
} finally {
  ended = true;
  await browser.close();
  await room.close();
}
