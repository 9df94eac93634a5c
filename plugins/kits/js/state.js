// Values that outlast an attempt, in the buckets that the manifest grants. `state.d.ts` documents it.

import { decode, encode, values } from "#state";
import { Permanent, remainingMs, Retry } from "./index.js";

/** How long an attempt waits that finds what it is to do once under way in another. */
const UNDER_WAY_MS = 10_000;

/** Calls a function of the host's. */
function ask(call, ...args) {
    try {
        return call(...args);
    } catch (err) {
        if (!err?.payload?.kind) throw err;
        const { kind, message } = err.payload;
        throw Object.assign(new Retry(`state: ${message}`), { kind });
    }
}

/** What a conditional change comes to; undefined where its condition does not hold. */
function tried(call, ...args) {
    try {
        return ask(call, ...args);
    } catch (err) {
        if (err?.kind === "conflict") return undefined;
        throw err;
    }
}

function set(value) {
    const json = JSON.stringify(value);
    if (json === undefined) throw new Permanent("state: JSON cannot hold the value");
    return { tag: "set", val: encode(json) };
}

const change = (key, action, { ttlMs, condition = { tag: "always" } } = {}) => ({
    key,
    action,
    condition,
    ttlMs: ttlMs === undefined ? undefined : Math.max(Math.round(ttlMs), 0),
});

function add(by) {
    if (!Number.isSafeInteger(by)) throw new Permanent(`state: ${by} is no whole number that can be added`);
    return { tag: "add", val: by };
}

const gone = { tag: "delete" };

export const bucket = (name) => new Bucket(name);

class Bucket {
    #name;

    constructor(name) {
        this.#name = name;
    }

    get(key) {
        return this.getVersioned(key)?.value;
    }

    getVersioned(key) {
        const [entry] = ask(values.get, this.#name, [key]);
        if (entry === undefined || entry === null) return undefined;
        const text = decode(new Uint8Array(entry.value));
        try {
            return { value: JSON.parse(text), version: entry.version };
        } catch (err) {
            throw new Permanent(`state: the value of ${JSON.stringify(key)} is not JSON: ${err.message}`);
        }
    }

    set(key, value, { ttlMs } = {}) {
        this.#write(change(key, set(value), { ttlMs }));
    }

    setIfAbsent(key, value, { ttlMs } = {}) {
        const absent = change(key, set(value), { ttlMs, condition: { tag: "absent" } });
        return tried(values.write, this.#name, [absent]) !== undefined;
    }

    swap(key, version, value) {
        const same = change(key, set(value), { condition: { tag: "version", val: version } });
        return tried(values.write, this.#name, [same])?.[0].version;
    }

    add(key, by) {
        return this.#write(change(key, add(by))).number;
    }

    delete(key) {
        this.#write(change(key, gone));
    }

    keys(prefix = "", { after } = {}) {
        return ask(values.listKeys, this.#name, prefix, after, 1000);
    }

    setOnCompletion(key, value) {
        this.#onCompletion(change(key, set(value)));
    }

    addOnCompletion(key, by) {
        this.#onCompletion(change(key, add(by)));
    }

    deleteOnCompletion(key) {
        this.#onCompletion(change(key, gone));
    }

    #write(one) {
        return ask(values.write, this.#name, [one])[0];
    }

    #onCompletion(one) {
        ask(values.writeOnCompletion, this.#name, [one]);
    }
}

export function once(name, key, work) {
    const things = bucket(name);
    // Longer than this attempt can last, so that no other begins while it is at work.
    if (!things.setIfAbsent(key, "under_way", { ttlMs: remainingMs() + 1000 })) {
        const found = things.get(key);
        if (found?.done !== undefined) return found.done;
        throw new Retry(`another attempt is at ${JSON.stringify(key)}`, { afterMs: UNDER_WAY_MS });
    }
    const failed = (err) => {
        things.delete(key);
        throw err;
    };
    const done = (value = null) => {
        const result = { done: value };
        try {
            set(result);
        } catch (err) {
            return failed(err);
        }
        // Where this fails the key stays taken: the work is done.
        things.set(key, result);
        return value;
    };
    let worked;
    try {
        worked = work();
    } catch (err) {
        return failed(err);
    }
    return typeof worked?.then === "function" ? worked.then(done, failed) : done(worked);
}
