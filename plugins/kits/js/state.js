// Values that outlast an attempt, in the buckets that the manifest grants. `state.d.ts` documents it.

import { decode, encode, values } from "#state";
import { Permanent, remainingMs, Retry } from "./index.js";
import { fromJson, rawJson, toJson } from "./json.js";

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

/** What reads or writes the JSON of a key comes to. What it throws is no better the next time. */
function fitting(key, act) {
    try {
        return act();
    } catch (err) {
        const why = err instanceof Error ? err.message : err;
        throw new Permanent(`state: the value of ${JSON.stringify(key)}: ${why}`, { cause: err });
    }
}

const set = (key, value) => ({ tag: "set", val: encode(fitting(key, () => toJson(value))) });

const change = (key, action, { ttlMs, condition = { tag: "always" } } = {}) => ({
    key,
    action,
    condition,
    ttlMs: ttl(ttlMs),
});

/** Whole milliseconds; `undefined`, as for 0: as long as the bucket keeps values. */
function ttl(ms = 0) {
    if (ms === 0) return undefined;
    if (!(ms > 0)) throw new Permanent(`state: a value cannot last for ${ms} ms`);
    return Math.min(Math.ceil(ms), Number.MAX_SAFE_INTEGER);
}

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
        const value = fitting(key, () => fromJson(decode(new Uint8Array(entry.value))));
        return { value, version: entry.version };
    }

    set(key, value, { ttlMs } = {}) {
        this.#write(change(key, set(key, value), { ttlMs }));
    }

    setIfAbsent(key, value, { ttlMs } = {}) {
        const absent = change(key, set(key, value), { ttlMs, condition: { tag: "absent" } });
        return tried(values.write, this.#name, [absent]) !== undefined;
    }

    swap(key, version, value) {
        const same = change(key, set(key, value), { condition: { tag: "version", val: version } });
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
        this.#onCompletion(change(key, set(key, value)));
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

export async function once(name, key, work) {
    const things = bucket(name);
    // Longer than this attempt can last, so that no other begins while it is at work.
    if (!things.setIfAbsent(key, "under_way", { ttlMs: remainingMs() + 1000 })) return doneBefore(things, key);
    let text;
    let value;
    try {
        const result = (await work()) ?? null;
        // By itself, since an object leaves out a function. And read again: so it is now what it will be later.
        text = fitting(key, () => toJson(result));
        value = fitting(key, () => fromJson(text));
    } catch (err) {
        try {
            things.delete(key);
        } catch {
            // A claim that cannot be deleted ends by itself. What went wrong before is what has to be told.
        }
        throw err;
    }
    // Where this fails the key stays taken: the work is done.
    things.set(key, rawJson(`{"done":${text}}`));
    return value;
}

/** What a key was kept for, in every kit: `"under_way"` or `{"done": result}`. */
function doneBefore(things, key) {
    const found = things.get(key);
    if (found === undefined || found === "under_way") {
        throw new Retry(`another attempt is at ${JSON.stringify(key)}`, { afterMs: UNDER_WAY_MS });
    }
    if (found?.done === undefined) {
        throw new Permanent(`state: the value of ${JSON.stringify(key)}: it is not of what is done once`);
    }
    return found.done;
}
