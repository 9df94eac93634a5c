// Starts what the tests need: a Redis, a worker with real handlers, a dashboard, and a browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const root = new URL("../..", import.meta.url).pathname;
const kiln = process.env.KILN ?? join(root, "target/debug/kiln");
export const plugins = process.env.KILN_TEST_PLUGINS ?? join(root, "target/plugins");

export const CHROMIUM = "/usr/bin/chromium";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Waits for something that happens by itself.
export async function until(what, is, patience = 60_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await is();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

// One connection to Redis, for commands with simple answers.
export class Redis {
  constructor(port) {
    this.port = port;
  }

  async send(...commands) {
    const socket = connect(this.port, "127.0.0.1");
    const text = commands.map((words) => {
      const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
      return `*${words.length}\r\n${parts.join("")}`;
    });
    socket.write(text.join(""));
    let answers = 0;
    for await (const chunk of socket) {
      answers += chunk.toString().split("\r\n").length - 1;
      if (answers >= commands.length) break;
    }
    socket.destroy();
  }
}

export class Room {
  static async open(extra = [], serve = true) {
    const room = new Room();
    room.folder = mkdtempSync(join(tmpdir(), "kiln-browser-"));
    room.processes = [];
    const port = await freePort();
    room.redis = new Redis(port);
    room.store = `redis://127.0.0.1:${port}`;
    room.start("redis-server", ["--port", port, "--save", "", "--dir", room.folder, "--bind", "127.0.0.1"]);
    await until("Redis", () => room.redis.send(["PING"]).then(() => true, () => false));
    if (serve) await room.serve(...extra);
    return room;
  }

  async serve(...extra) {
    const said = this.start(kiln, ["serve", "--store", this.store, "--listen", "0", ...extra]);
    this.address = await until("the dashboard", () => /the dashboard is at (\S+)/.exec(said.text)?.[1]);
    this.dashboard = said.process;
  }

  start(program, args) {
    const process = spawn(program, args.map(String), { stdio: ["ignore", "pipe", "pipe"] });
    const said = { text: "", process };
    for (const stream of [process.stdout, process.stderr]) stream.on("data", (some) => (said.text += some));
    process.on("error", (error) => (said.text += error));
    this.processes.push(process);
    return said;
  }

  // A worker with the built handlers, which serves these queues.
  async work(...args) {
    const said = this.start(kiln, ["worker", "--store", this.store, "--plugins", plugins, ...args]);
    await until("the worker", () => said.text.includes("worker started"), 120_000).catch((error) => {
      throw new Error(`${error.message}\n${said.text}`);
    });
    return said.process;
  }

  async push(queue, ...jobs) {
    await this.redis.send(["RPUSH", `queue:queues:${queue}`, ...jobs.map((job) => JSON.stringify(job))]);
  }

  async fail(...entries) {
    for (let at = 0; at < entries.length; at += 500) {
      const some = entries.slice(at, at + 500).map((entry) => JSON.stringify(entry));
      await this.redis.send(["RPUSH", "queue:failed", ...some]);
    }
  }

  // Has jobs wait in a lane of a plugin's limits. Without a turn, a limit is met.
  async wait(queue, plugin, lane, jobs, turn = true) {
    const beside = `{queue:queues:${queue}}`;
    const group = `${beside}:limits:${plugin}`;
    const commands = jobs.map((job) => ["RPUSH", `${group}:lane:${lane}`, JSON.stringify(job)]);
    commands.push(["SADD", `${group}:lanes`, lane], ["INCRBY", `${group}:waiting`, jobs.length], ["SADD", `${beside}:lanes`, `limits:${plugin}`]);
    if (turn) commands.push(["ZADD", `${group}:turns`, Date.now() / 1000 + 20, lane]);
    await this.redis.send(...commands);
  }

  // Over a connection of its own: one that was kept may just have been closed for its idleness.
  async ask(path, init = {}) {
    return fetch(new URL(path, this.address), { ...init, headers: { connection: "close", ...init.headers } });
  }

  async api(path) {
    const answer = await this.ask(`/api/v1${path}`);
    return answer.json();
  }

  async close() {
    for (const process of this.processes.reverse()) {
      if (process.exitCode === null) {
        process.kill("SIGKILL");
        await once(process, "exit");
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function openBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

// A failed entry as Kiln writes it.
export function trapped(id, plugin, place, minutesAgo, digest = "ce60aa11bb22cc33", message = "index out of bounds: the len is 3 but the index is 7") {
  const at = new Date(Date.now() - minutesAgo * 60_000).toISOString();
  return {
    id, name: plugin, queue: "default", payload: { order: 9007199254740993, items: [{ sku: "A-17", count: 2 }] }, attempts: 3, max_attempts: 3,
    created_at: new Date(Date.now() - (minutesAgo + 3) * 60_000).toISOString(), failed_at: at, error: `trap: ${message}`,
    failure: {
      kind: "trap", message, handler: plugin, digest, attempt: 3, duration_ms: 12, cpu_ms: 9, peak_memory_bytes: 3_400_000,
      backtrace: `    5:   0x1f2a - ${plugin}.wasm!${place}\n    6:   0x0c31 - ${plugin}.wasm!${plugin}::handle\n    7:   0x0099 - ${plugin}.wasm!kiln:job/handler@0.1.0#handle\n  above these: 5 of its language's runtime`,
      stderr: `thread 'main' panicked at src/lib.rs:42:17:\n${message}`,
    },
  };
}
