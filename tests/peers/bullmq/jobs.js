// BullMQ: `node jobs.js push N` pushes N jobs that do nothing, `node jobs.js work CONCURRENCY` runs them.
//
// Fair, because jobs are added in bulk, a completed one is removed at once, nothing listens for events, and the native
// packer for its scripts' arguments is installed. Of 50, 100 and 200 jobs at once, 100 took the least processor time a
// job. Concurrency hides round trips but adds no core, hence the row with two processes.

const { Queue, Worker } = require("bullmq");

const [what, count] = [process.argv[2], Number(process.argv[3])];
const { hostname: host, port } = new URL(process.env.REDIS_URL);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };

async function push() {
  const queue = new Queue("bench", { connection });
  const job = { name: "nothing", data: { to: "x".repeat(391) } }; // 400 bytes of JSON
  for (let left = count; left > 0; left -= 1000) {
    await queue.addBulk(Array(Math.min(left, 1000)).fill(job));
  }
  await queue.close();
}

if (what === "push") {
  push();
} else {
  const removeOnComplete = { count: 0 };
  const worker = new Worker("bench", async () => {}, { connection, concurrency: count, removeOnComplete });
  process.on("SIGTERM", () => worker.close());
}
