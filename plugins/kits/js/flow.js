// Jobs that a handler enqueues. `flow.d.ts` documents it.

import { jobs } from "#flow";
import { Permanent } from "./index.js";
import { toJson } from "./json.js";

/** The JSON of a value. What it throws is no better the next time. */
function json(what, value) {
    try {
        return toJson(value);
    } catch (err) {
        throw new Permanent(`enqueue: the ${what}: ${err instanceof Error ? err.message : err}`, { cause: err });
    }
}

export function enqueue(name, payload = null, options = undefined) {
    const payloadText = json("payload", payload);
    const optionsText = options === undefined ? undefined : json("options", options);
    try {
        return jobs.enqueue(name, payloadText, optionsText);
    } catch (err) {
        if (!err?.payload?.kind) throw err;
        const { kind, message } = err.payload;
        throw Object.assign(new Permanent(`enqueue: ${message}`), { kind });
    }
}
