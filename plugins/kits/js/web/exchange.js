// Requests under way: what the host's functions tell, as promises of this kit.

import * as client from "kiln:http/client";
import { ask as waitAs, event, EXCHANGE, forget, numbers, source } from "../waiting.js";

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
/** Those whose answers nobody reads on. */
const idle = new Set();
/** Requests that wait for others to end, because no more may be open. */
const queue = [];

waitAs(
    (events, ms) => {
        const val = client.wait(numbers(events, EXCHANGE), ms) ?? undefined;
        return val === undefined ? undefined : { tag: EXCHANGE, val };
    },
    { isForAll: false },
);
source({
    isStuck: () => queue.length > 0,
    release: () => queue.shift().resolve({ isStuck: true }),
    clear() {
        open.clear();
        idle.clear();
        queue.length = 0;
    },
});

export class Exchange {
    #number;
    /** By which the host knows the body that is sent. */
    #body;
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

    /** Sends bytes of the body. Resolves once the host has all of them, or nobody takes them any more. */
    async write(bytes) {
        while (bytes.length > 0 && !this.#isClosed) {
            const taken = this.#ask(client.writeSome, bytes.subarray(0, PIECE_BYTES));
            bytes = bytes.subarray(taken);
            if (taken === 0) await this.#room();
        }
    }

    /** Waits until there is room for more of the body. */
    #room() {
        this.#body ??= this.#ask(client.bodyNumber);
        return event(EXCHANGE, this.#body);
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
        forget(EXCHANGE, this.#body)?.resolve();
        open.delete(this);
        idle.delete(this);
        queue.shift()?.resolve({ isStuck: false });
    }

    async #next(call, ...args) {
        idle.delete(this);
        await event(EXCHANGE, this.#number);
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
        const waiter = forget(EXCHANGE, this.#number);
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
