// Kiln's kit for handlers in JavaScript and TypeScript: what a handler is given, how it fails, and what it may ask of
// its attempt. `index.d.ts` documents it. Outside Wasm it works as well: `testing.js` makes attempts for tests.

import * as host from "#host";
import { format } from "./format.js";
import { fromJson, toJson } from "./json.js";

export { rawJson } from "./json.js";

export class Failure extends Error {
    get name() {
        return this.constructor.name;
    }
}

export class Retry extends Failure {
    constructor(message, { afterMs, ...options } = {}) {
        super(message, options);
        this.afterMs = afterMs;
    }
}

export class Permanent extends Failure {}

export function handle(run, { payload: parse = (value) => value } = {}) {
    const attempt = (record) => run(read("payload", record.payload, parse), jobOf(record));
    return {
        attempt,
        // What the component exports.
        handle: (record) => host.finish(() => attempt(record), resultText, thrown),
    };
}

/** What to throw for what a handler threw. */
function thrown(err) {
    if (err instanceof Failure) return toWit(err);
    host.report(err);
    const failure = ofRequest(err);
    return failure ? toWit(failure) : host.crash(err);
}

/** An error and what caused it, as far as that is told. */
function causes(err) {
    const found = [];
    for (; err instanceof Error && found.length < 10; err = err.cause) found.push(err);
    return found;
}

/** Whether a request or a connection failed, or took longer than it may. */
const isPassing = ({ name, kind, message }) =>
    name === "TimeoutError" ||
    (["HttpError", "TcpError"].includes(name) && kind !== "invalid") ||
    // As StarlingMonkey's own `fetch` has it.
    (name === "TypeError" && /^(NetworkError|IO error) /.test(message));

/** What an error comes to that nobody caught and that is about a request or a connection, which is no fault of the handler's. */
function ofRequest(err) {
    const found = causes(err);
    const message = [...new Set(found.map(({ message }) => message))].join(": ");
    // As the clients of many an API throw it.
    const answers = found.map((err) => (err.response?.status ? err.response : err));
    const answer = answers.find(({ status }) => Number.isInteger(status) && status >= 400 && status < 600);
    if (answer) return ofStatus(answer, message);
    return found.some(isPassing) ? new Retry(message) : undefined;
}

/** Statuses of answers that may be others the next time. */
const PASSING = [408, 425, 429];
/** Those with which a server may tell when. */
const TIMED = [429, 503];

function ofStatus({ status, headers }, message) {
    if (status < 500 && !PASSING.includes(status)) return new Permanent(message);
    if (!TIMED.includes(status)) return new Retry(message);
    return new Retry(message, { afterMs: fromNow(headers?.get?.("retry-after") ?? headers?.["retry-after"]) });
}

export function checkStatus(response) {
    const { status, url } = response;
    if (status < 400) return response;
    throw ofStatus(response, `${origin(url)} answered ${status}`);
}

/** `https://api.example.com` of a URL: without user, path and query, which often are the secret. */
function origin(url) {
    const [, scheme, server] = /^([a-z]+:\/\/)(?:[^/?#]*@)?([^/?#]+)/i.exec(url) ?? [];
    return server ? scheme + server : "the server";
}

/** Milliseconds until the time that `Retry-After` tells, in seconds or as a date; `undefined` where it tells none. */
function fromNow(text) {
    if (/^\d+$/.test(text)) return Number(text) * 1000;
    // `Date.parse` takes much for a date, such as "-1"; one of HTTP begins with its weekday.
    const ms = /^[A-Z][a-z]/.test(text) ? Date.parse(text) - Date.now() : Number.NaN;
    return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}

/** What does not fit this time will not fit the next time either. */
function read(what, text, parse) {
    try {
        return parse(fromJson(text));
    } catch (err) {
        if (err instanceof Failure) throw err;
        throw new Permanent(`${what}: ${err instanceof Error ? err.message : err}`, { cause: err });
    }
}

function jobOf(record) {
    return {
        id: record.id,
        name: record.name,
        queue: record.queue,
        payloadText: record.payload,
        attempt: record.attempt,
        maxAttempts: record.maxAttempts,
        createdAt: record.createdAtMs ? new Date(Number(record.createdAtMs)) : undefined,
        metadata: read("metadata", record.metadata, (value) => value),
    };
}

/** A result's JSON; `undefined`: there is none. */
export function resultText(result) {
    if (result === undefined || result === null) return undefined;
    try {
        return toJson(result);
    } catch (err) {
        // It is no better the next time.
        throw new Permanent(`result: ${err instanceof Error ? err.message : err}`, { cause: err });
    }
}

function toWit(failure) {
    const message = failure.message.toWellFormed();
    if (failure instanceof Permanent) return { tag: "permanent", val: message };
    if (failure.afterMs === undefined) return { tag: "retry", val: message };
    return { tag: "retry-after", val: [message, whole(Math.ceil(failure.afterMs), Number.MAX_SAFE_INTEGER)] };
}

/** The nearest number that an unsigned integer of the contract holds. */
const whole = (number, max) => Math.min(Math.max(Math.round(number), 0), max) || 0;

export const progress = (percent, note) =>
    host.progress(whole(percent, 100), note === undefined ? undefined : format([note]));
export const remainingMs = () => host.remainingMs();
export const isCancelled = () => host.isCancelled();
export const config = (key) => host.config(key) ?? undefined;

export const logger = (context) =>
    Object.fromEntries(
        ["trace", "debug", "info", "warn", "error", "critical"].map((level) => [
            level,
            (...parts) => host.log(level, context, format(parts)),
        ]),
    );

export const log = logger("");
