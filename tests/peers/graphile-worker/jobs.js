// graphile-worker: `node jobs.js push N` pushes N jobs that do nothing, `node jobs.js work CONCURRENCY` runs them.
//
// Fair, because jobs are added in bulk, a completed one is deleted, no line is logged for each, and the settings are
// those that its documentation measures itself with: 24 jobs at once, a connection more than that, a local queue of 500
// and completions in batches. The backlog is vacuumed and analyzed, as PostgreSQL itself does in time, so that a plan
// does not depend on when. It runs on the version of Node that it asks for, and PostgreSQL has what it commits on disk,
// which the Redis of the others has not: that is what its users choose it for.

const { Logger, makeWorkerUtils, run } = require("graphile-worker");

const [what, count] = [process.argv[2], Number(process.argv[3])];
const connectionString = process.env.DATABASE_URL;
const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});

async function push() {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  const job = { identifier: "nothing", payload: { to: "x".repeat(391) } }; // 400 bytes of JSON
  for (let left = count; left > 0; left -= 1000) {
    await utils.addJobs(Array(Math.min(left, 1000)).fill(job));
  }
  await utils.withPgClient((client) => client.query("VACUUM ANALYZE graphile_worker._private_jobs"));
  await utils.release();
}

async function work() {
  const worker = {
    connectionString,
    logger,
    concurrentJobs: count,
    maxPoolSize: count + 1,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  };
  const runner = await run({ preset: { worker }, taskList: { nothing: async () => {} } });
  await runner.promise; // ends at SIGTERM
}

if (what === "push") {
  push();
} else {
  work();
}
