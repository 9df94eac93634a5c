import type { Handler, Job } from "./index.js";

/** What a test may say of the attempt; all of it has a default. */
export interface Attempt extends Partial<Job> {
    /** What `config` finds. */
    config?: Record<string, string>;
    remainingMs?: number;
    isCancelled?: boolean;
}

/**
 * Makes one attempt, and returns the job's result as a consumer would read it. Throws what the handler throws: `Retry`,
 * `Permanent`, or what would be a crash.
 */
export function attempt(handler: Handler, payload: unknown, given?: Attempt): Promise<any>;

/** What handlers have enqueued since this was asked last: what `enqueue` of `kiln/flow.js` was called with. */
export function enqueued(): { name: string; payload: any; options: Record<string, any> }[];
