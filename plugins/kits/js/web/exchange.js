// Requests under way: what the host's functions tell, as promises of this kit.

import * as client from "kiln:http/client";
import { waitWith } from "../promise.js";

/** What one call reads, or writes, at most. */
export const PIECE_BYTES = 65_536;

/** What the host said of a request that went wrong. Where a handler does not catch it, the attempt is one to retry. */
export class HttpError extends Error {
    constructor({ kind, message }, options) {
        super(message, options);
        this.kind = kind;
    }

    get name() {
        return "HttpError";
    }
}

/** What a handler is told, as in Node.js: an error of few words, and its cause. */
export const failed = (cause) => new TypeError("fetch failed", { cause });

/** Calls a function of the host's, about a request to this origin. */
function ask(origin, call, ...args) {
    try {
        return call(...args);
    } catch (err) {
        if (!err?.payload?.kind) throw err;
        const { kind, message } = err.payload;
        throw failed(new HttpError({ kind, message: `${origin}: ${message}` }));
    }
}

const open = new Set();
/** Those that somebody waits for, by their numbers. */
const waiting = new Map();
/** Those whose answers nobody reads on. */
const idle = new Set();
/** Requests that wait for others to end, because no more may be open. */
const queue = [];
/** The one that had its turn last. */
let last;

waitWith({
    isWaiting: () => waiting.size > 0 || queue.length > 0,
    wait(ms) {
        if (waiting.size === 0) return queue.shift().resolve({ isStuck: true });
        const numbers = [...waiting.keys()];
        // The host looks for the lowest number. One that always has something must not keep the others from their turn.
        const others = numbers.filter((number) => number !== last);
        const isFair = others.length > 0 && others.length < numbers.length;
        const first = (isFair ? client.wait(others, 0) : null) ?? client.wait(numbers, ms);
        if (first === null || first === undefined) return;
        last = first;
        const { resolve } = waiting.get(first);
        waiting.delete(first);
        resolve();
    },
    // The host closes what an attempt leaves open.
    clear() {
        open.clear();
        waiting.clear();
        idle.clear();
        queue.length = 0;
    },
});

export class Exchange {
    #number;
    #origin;
    #signal;
    #isClosed = false;
    /** Why it was closed before its end. */
    #failure;
    /** What came before it was asked for. */
    #spooled = [];
    #onAbort = () => this.#abort();

    /** Begins it, as soon as it may. */
    static async start(request, origin, signal) {
        for (;;) {
            signal?.throwIfAborted();
            try {
                return new Exchange(ask(origin, client.start, request), origin, signal);
            } catch (err) {
                if (err.cause?.kind !== "too-many" || open.size === 0) throw err;
                const { isStuck } = await turn(signal);
                if (!isStuck) continue;
                // None will end by itself.
                const [first] = idle;
                if (!first) throw err;
                first.#spool();
            }
        }
    }

    constructor(number, origin, signal) {
        open.add(this);
        this.#number = number;
        this.#origin = origin;
        this.#signal = signal;
        signal?.addEventListener("abort", this.#onAbort);
    }

    get isClosed() {
        return this.#isClosed;
    }

    /** Waits for the head of the answer. */
    head() {
        return this.#next(client.response);
    }

    /** Waits for the next piece of the answer's body; `undefined` at its end. */
    async read() {
        if (this.#spooled.length > 0) return this.#spooled.shift();
        if (this.#failure) throw this.#failure.err;
        if (this.#isClosed) return undefined;
        const piece = await this.#next(client.read, PIECE_BYTES);
        if (piece.length > 0) return piece;
        this.close();
        return undefined;
    }

    /** Sends bytes of the body. */
    write(bytes) {
        for (let at = 0; at < bytes.length && !this.#isClosed; at += PIECE_BYTES) {
            this.#ask(client.write, bytes.subarray(at, at + PIECE_BYTES));
        }
    }

    /** Ends the body that is sent. */
    finish() {
        if (!this.#isClosed) this.#ask(client.finish);
    }

    /** Ends it, and with a failure if one is given: then there is no more to read, for this reason. */
    close(...failure) {
        if (this.#isClosed) return;
        this.#isClosed = true;
        if (failure.length > 0) this.#failure = { err: failure[0] };
        this.#signal?.removeEventListener("abort", this.#onAbort);
        client.close(this.#number);
        open.delete(this);
        idle.delete(this);
        queue.shift()?.resolve({ isStuck: false });
    }

    async #next(call, ...args) {
        idle.delete(this);
        await new Promise((resolve, reject) => waiting.set(this.#number, { resolve, reject }));
        const answer = this.#ask(call, ...args);
        idle.add(this);
        return answer;
    }

    /** Takes the rest of the answer in, so that another request may be made. */
    #spool() {
        try {
            for (let piece; (piece = this.#ask(client.read, PIECE_BYTES)).length > 0; ) this.#spooled.push(piece);
            this.close();
        } catch {
            // Whoever reads it hears of that.
        }
    }

    #ask(call, ...args) {
        try {
            return ask(this.#origin, call, this.#number, ...args);
        } catch (err) {
            this.close(err);
            throw err;
        }
    }

    #abort() {
        const waiter = waiting.get(this.#number);
        waiting.delete(this.#number);
        this.close(this.#signal.reason);
        waiter?.reject(this.#signal.reason);
    }
}

/** Waits until another exchange ends, or none will. */
function turn(signal) {
    return new Promise((resolve, reject) => {
        const place = { resolve };
        queue.push(place);
        signal?.addEventListener("abort", () => {
            const at = queue.indexOf(place);
            if (at >= 0) queue.splice(at, 1);
            reject(signal.reason);
        });
    });
}
