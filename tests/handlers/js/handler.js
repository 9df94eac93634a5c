// Does what its payload says, so that one suite can hold the kits of all languages to the same behaviour.

import {
    config,
    handle,
    isCancelled,
    log,
    Permanent,
    progress,
    rawJson,
    remainingMs,
    Retry,
} from "./kiln/index.js";
import { integer, object, string } from "./kiln/payload.js";
import { chat } from "./chat.js";
import { http, meanwhile } from "./http.js";
import { enqueueAll } from "./flow.js";
import { decline, remember, share } from "./state.js";
import { web } from "./web.js";

const typed = object({ do: string, text: string, count: integer });

export const handler = handle(perform, { payload: (value) => (value?.do === "typed" ? typed(value) : value) });

/** Whether an attempt finds what another one left. */
let count = 0;

async function perform(payload, job) {
    switch (payload?.do) {
        case undefined:
        case "echo":
            return rawJson(job.payloadText);
        case "none":
            return;
        case "retry":
        case "error":
            throw new Retry(payload.message);
        case "retry-after":
            throw new Retry(payload.message, { afterMs: payload.ms });
        case "permanent":
            throw new Permanent(payload.message);
        case "crash":
            throw new Error(payload.message);
        case "describe":
            return {
                id: job.id,
                name: job.name,
                queue: job.queue,
                attempt: job.attempt,
                max_attempts: job.maxAttempts,
                created_at_ms: job.createdAt?.getTime() ?? 0,
                metadata: job.metadata,
            };
        case "log":
            log.debug(payload.message);
            log.info(payload.message);
            log.warn(payload.message);
            log.error(payload.message);
            console.log(payload.message);
            return;
        case "progress":
            progress(50, "half way");
            return { remaining: remainingMs() > 0, cancelled: isCancelled() };
        case "config":
            return { value: config(payload.key) ?? null };
        case "env":
            return { value: process.env[payload.name] ?? null };
        case "typed":
            return { text: payload.text, length: [...payload.text].length, count: payload.count + 1 };
        case "random":
            return { value: Math.floor(Math.random() * 2 ** 48) };
        case "clock":
            return { ms: Date.now() };
        case "count":
            return { count: ++count };
        case "nap":
            await new Promise((wake) => setTimeout(wake, payload.ms));
            return;
        case "http":
            return http(payload);
        case "chat":
            return chat(payload);
        case "enqueue":
            return enqueueAll(payload);
        case "state":
            return remember(payload.key);
        case "share":
            return share(payload);
        case "decline":
            return decline(payload);
        case "meanwhile":
            return meanwhile(payload);
        case "web":
            return web[payload.task](payload);
        case "bulk":
            return { text: "x".repeat(payload.size) };
        default:
            throw new Permanent(`unknown: ${payload.do}`);
    }
}
