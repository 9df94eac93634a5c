/** One attempt at one job. */
export interface Job {
    /** Unique, unless a foreign producer left it out. The same job may run twice: make effects idempotent by it. */
    readonly id: string;
    readonly name: string;
    readonly queue: string;
    /** The payload's JSON text, byte for byte as it was pushed. */
    readonly payloadText: string;
    /** Counted from 1. */
    readonly attempt: number;
    /** How many attempts the job has in all: `attempt === maxAttempts` is the last one. */
    readonly maxAttempts: number;
    /** Missing where the producer did not say. */
    readonly createdAt?: Date;
    readonly metadata: Readonly<Record<string, unknown>>;
}

/** What a handler's module exports under the name `handler`. */
export interface Handler<Result = unknown> {
    /** For Kiln; a test calls `attempt` of `kiln/testing.js`. */
    handle(record: JobRecord): string | undefined;
    /** Makes an attempt, without turning what comes of it into the contract's terms. */
    attempt(record: JobRecord): Result | Promise<Result>;
}

/** A job as the contract has it. */
export interface JobRecord {
    id: string;
    name: string;
    queue: string;
    payload: string;
    attempt: number;
    maxAttempts: number;
    createdAtMs: number;
    metadata: string;
}

/**
 * Makes a handler of a function, which may be `async`.
 *
 * What it returns is the job's result: whatever JSON can hold, `rawJson(text)`, or nothing. It fails by throwing
 * `Retry` or `Permanent`. What it throws about a request (an error of `fetch`, or one of a client of an API with the
 * answer's `status`) comes to what `checkStatus` would make of it. Anything else is a crash, reported with its stack and
 * tried again by the retry policy.
 *
 * `payload` turns what was pushed into what the function takes; where it throws, the failure is permanent. Without it
 * the payload is taken for what you say that it is.
 */
export function handle<Payload = unknown, Result = unknown>(
    run: (payload: Payload, job: Job) => Result | Promise<Result>,
    options?: { payload?: (value: unknown) => Payload },
): Handler<Result>;

/** A result, or a value of `state.js`, that is JSON text already, and is passed on as it is. */
export function rawJson(text: string): unknown;

/** Why an attempt did not complete. */
export abstract class Failure extends Error {}

/** To be tried again: by the retry policy, or not before `afterMs` have passed. */
export class Retry extends Failure {
    constructor(message: string, options?: ErrorOptions & { afterMs?: number });
    readonly afterMs?: number;
}

/** Not to be tried again, because that cannot help: the job goes to the failed list at once. */
export class Permanent extends Failure {
    constructor(message: string, options?: ErrorOptions);
}

/**
 * Returns a response whose status is below 400, and throws what a job usually comes to otherwise: `Retry` for 408, 425, 429
 * and 500 or more, with the time that the server tells by `Retry-After` of 429 or 503, and `Permanent` for the rest.
 */
export function checkStatus<Answer extends { status: number; url: string; headers: { get(name: string): string | null } }>(
    response: Answer,
): Answer;

/** Reports how far the attempt has come, in percent. */
export function progress(percent: number, note?: string): void;

/** Milliseconds until the attempt is interrupted as timed out. */
export function remainingMs(): number;

/** Whether the host shuts down. A long handler then does best to throw `Retry`, which counts as no attempt. */
export function isCancelled(): boolean;

/** A value of `[config]` in the plugin's manifest. */
export function config(key: string): string | undefined;

/** Writes lines to the host's log, beside the job's id and name. Values are put in a line as `console.log` does. */
export interface Logger {
    trace(...parts: unknown[]): void;
    debug(...parts: unknown[]): void;
    info(...parts: unknown[]): void;
    warn(...parts: unknown[]): void;
    error(...parts: unknown[]): void;
    critical(...parts: unknown[]): void;
}

/** A log that names the part of the handler which speaks. */
export function logger(context: string): Logger;

export const log: Logger;
