// Promises and timers that a handler can wait for.
//
// The engine settles its own promises only once the export has returned, which is too late. So `kiln build` has `async`
// functions turned into generators over the global `Promise`, and here is one whose reactions `settle` runs.

import { now, subscribeDuration } from "wasi:clocks/monotonic-clock";

const Native = globalThis.Promise;

const tasks = [];
const timers = new Map();
let lastTimer = 0;
/** Promises that were rejected while nobody looked, and why. */
const unhandled = new Map();

export const queueMicrotask = (task) => void tasks.push(task);

export class KilnPromise {
    #state = "pending";
    #value;
    #reactions = [];

    constructor(executor) {
        this.#follow(executor);
    }

    /** Hands out the two ends of this promise, of which only the first call counts. */
    #follow(executor) {
        let called = false;
        const once = (act) => (value) => {
            if (!called) {
                called = true;
                act(value);
            }
        };
        const reject = once((err) => this.#settle("rejected", err));
        try {
            executor(once((value) => this.#resolve(value)), reject);
        } catch (err) {
            reject(err);
        }
    }

    #resolve(value) {
        if (value === this) return this.#settle("rejected", new TypeError("a promise cannot wait for itself"));
        const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
        let then;
        try {
            then = isObject ? value.then : undefined;
        } catch (err) {
            return this.#settle("rejected", err);
        }
        if (typeof then !== "function") return this.#settle("fulfilled", value);
        queueMicrotask(() => this.#follow((resolve, reject) => then.call(value, resolve, reject)));
    }

    #settle(state, value) {
        this.#state = state;
        this.#value = value;
        if (state === "rejected" && this.#reactions.length === 0) unhandled.set(this, value);
        for (const react of this.#reactions.splice(0)) queueMicrotask(react);
    }

    then(onFulfilled, onRejected) {
        unhandled.delete(this);
        return new this.constructor[Symbol.species]((resolve, reject) => {
            const react = () => {
                const [on, pass] = this.#state === "fulfilled" ? [onFulfilled, resolve] : [onRejected, reject];
                try {
                    if (typeof on === "function") resolve(on(this.#value));
                    else pass(this.#value);
                } catch (err) {
                    reject(err);
                }
            };
            if (this.#state === "pending") this.#reactions.push(react);
            else queueMicrotask(react);
        });
    }
}

// All else works for any class that has a `then`.
for (const [from, to] of [[Native, KilnPromise], [Native.prototype, KilnPromise.prototype]]) {
    for (const key of Reflect.ownKeys(from)) {
        if (!Object.hasOwn(to, key)) Object.defineProperty(to, key, Object.getOwnPropertyDescriptor(from, key));
    }
}

export function setTimeout(run, ms = 0, ...args) {
    return start(++lastTimer, ms, () => run(...args));
}

export function setInterval(run, ms = 0, ...args) {
    const again = () => {
        // Never due at once again: other events would not get their turn.
        start(timer, Math.max(Number(ms) || 0, 1), again);
        run(...args);
    };
    const timer = start(++lastTimer, ms, again);
    return timer;
}

function start(timer, ms, run) {
    timers.set(timer, { due: now() + Math.max(Number(ms) || 0, 0) * 1e6, run });
    return timer;
}

export const clearTimeout = (timer) => void timers.delete(timer);

/** Events beside timers: `wait` runs what the first of them brings, or returns once so many milliseconds have passed. */
let others = { isWaiting: () => false, wait() {}, clear() {} };

export const waitWith = (source) => void (others = source);

/** Waits for the next event and runs what it brings; false where there is none to wait for. */
function nextEvent() {
    let next;
    for (const [timer, { due }] of timers) {
        if (next === undefined || due < timers.get(next).due) next = timer;
    }
    const ns = next && Math.max(Math.ceil(timers.get(next).due - now()), 0);
    if (others.isWaiting()) {
        // Also where a timer is due: one that always is must not keep the others from their turn.
        others.wait(next && Math.ceil(ns / 1e6));
        if (ns !== 0) return true;
    }
    if (next === undefined) return false;
    const wake = subscribeDuration(ns);
    wake.block();
    wake[Symbol.dispose]?.();
    const { run } = timers.get(next);
    timers.delete(next);
    run();
    return true;
}

/** Runs what is to be run until a result is there, and returns it. What is left then goes with the attempt. */
export function settle(result) {
    let done = false;
    let value;
    let failure;
    new KilnPromise((resolve) => resolve(result)).then(
        (found) => ([done, value] = [true, found]),
        (err) => ([done, failure] = [true, { err }]),
    );
    try {
        for (;;) {
            while (tasks.length > 0) {
                for (const task of tasks.splice(0)) task();
            }
            if (done) break;
            if (!nextEvent()) throw new Error("the handler waits for a promise that nothing is left to settle");
        }
        if (failure) throw failure.err;
        for (const err of unhandled.values()) throw err;
        return value;
    } finally {
        tasks.length = 0;
        timers.clear();
        others.clear();
        unhandled.clear();
    }
}
