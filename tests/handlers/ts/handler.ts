// Does what its payload says, so that one suite can hold the kits of all languages to the same behaviour.

import {
    config,
    handle,
    isCancelled,
    type Job,
    log,
    Permanent,
    progress,
    rawJson,
    remainingMs,
    Retry,
} from "./kiln/index.js";
import { integer, object, string } from "./kiln/payload.js";
import { enqueueAll } from "./flow.js";
import { type Asked, http } from "./http.js";
import { decline, remember, share } from "./state.js";

type Request =
    | { do?: undefined }
    | { do: "echo" | "none" | "describe" | "progress" | "random" | "clock" | "count" }
    | { do: "retry" | "error" | "permanent" | "crash" | "log"; message: string }
    | { do: "retry-after"; message: string; ms: number }
    | { do: "config"; key: string }
    | { do: "env"; name: string }
    | { do: "typed"; text: string; count: number }
    | ({ do: "http" } & Asked)
    | { do: "enqueue"; text: string; n: number }
    | { do: "state"; key: string }
    | { do: "share"; key: string; text: string; n: number }
    | { do: "decline"; key: string; message: string }
    | { do: "nap"; ms: number }
    | { do: "bulk"; size: number };

const typed = object({ text: string, count: integer });

export const handler = handle(perform, {
    payload: (value): Request | null => {
        const request = value as Request | null;
        return request?.do === "typed" ? { do: "typed", ...typed(value) } : request;
    },
});

/** Whether an attempt finds what another one left. */
let count = 0;

async function perform(request: Request | null, job: Job): Promise<unknown> {
    switch (request?.do) {
        case undefined:
        case "echo":
            return rawJson(job.payloadText);
        case "none":
            return;
        case "retry":
        case "error":
            throw new Retry(request.message);
        case "retry-after":
            throw new Retry(request.message, { afterMs: request.ms });
        case "permanent":
            throw new Permanent(request.message);
        case "crash":
            throw new Error(request.message);
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
            log.debug(request.message);
            log.info(request.message);
            log.warn(request.message);
            log.error(request.message);
            console.log(request.message);
            return;
        case "progress":
            progress(50, "half way");
            return { remaining: remainingMs() > 0, cancelled: isCancelled() };
        case "config":
            return { value: config(request.key) ?? null };
        case "env":
            return { value: process.env[request.name] ?? null };
        case "typed":
            return { text: request.text, length: [...request.text].length, count: request.count + 1 };
        case "random":
            return { value: Math.floor(Math.random() * 2 ** 48) };
        case "clock":
            return { ms: Date.now() };
        case "count":
            return { count: ++count };
        case "nap":
            await new Promise((wake) => setTimeout(wake, request.ms));
            return;
        case "http":
            return http(request);
        case "enqueue":
            return enqueueAll(request);
        case "state":
            return remember(request.key);
        case "share":
            return share(request);
        case "decline":
            return decline(request);
        case "bulk":
            return { text: "x".repeat(request.size) };
        default:
            throw new Permanent(`unknown: ${(request as { do: unknown }).do}`);
    }
}
