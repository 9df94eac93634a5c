/**
 * Jobs that a handler enqueues, as far as the plugin's manifest grants it (`[grants.jobs]`). They are pushed with the
 * acknowledgement of the handler's own job: if the attempt fails, nothing is. A job that runs twice enqueues the same jobs,
 * with the same ids. Outside Wasm, in tests, `enqueued()` of `kiln/testing.js` tells what was asked for.
 */

/** What may be said of a job that is enqueued. */
export interface Options {
    /** Where to; else the queue of the handler's own job. */
    queue?: string;
    /** Not before so long after the acknowledgement: "90s", "5m", "1h30m". */
    delay?: string;
    /** Not before this time, RFC 3339. */
    at?: string;
    max_attempts?: number;
    /** Time an attempt may take: "30s". */
    timeout?: string;
    /** Else one that follows from the id of the handler's own job, the same each time. */
    id?: string;
    metadata?: Record<string, unknown>;
    /** What else a job may ask of Kiln in `metadata.kiln`. */
    [wish: string]: unknown;
}

/**
 * Enqueues a job and returns its id. What is not granted ends the attempt. Where the job is larger, or one more, than the
 * plugin's limits allow, and where an option is wrong, `Permanent` is thrown, with the `kind` that the host tells.
 */
export function enqueue(name: string, payload?: unknown, options?: Options): string;
