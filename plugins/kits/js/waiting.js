// Events of the host beside timers: answers to requests, connections that can be read or written. One call waits for all.

import { waitWith } from "./promise.js";

/** What the host calls each kind of event. */
export const EXCHANGE = "exchange";
export const READABLE = "connection-readable";
export const WRITABLE = "connection-writable";

/** Who waits, by the event. */
const waiting = new Map();
/** The event that came last. */
let last;
/** Waits for one of these events, or for so many milliseconds, and returns it. */
let waitFor;
let waitsForAll = false;
/** Those that others depend on: see `source`. */
const sources = [];

const keyOf = (tag, val) => `${tag} ${val}`;

/** Resolves once the event has come. */
export function event(tag, val) {
    return new Promise((resolve, reject) => waiting.set(keyOf(tag, val), { tag, val, resolve, reject }));
}

/** Nobody waits for the event any more; returns who did. */
export function forget(tag, val) {
    const waiter = waiting.get(keyOf(tag, val));
    waiting.delete(keyOf(tag, val));
    return waiter;
}

/** How the host is asked: by the interface that knows all kinds of events if the handler has it. */
export function ask(wait, { isForAll }) {
    if (waitsForAll) return;
    waitFor = wait;
    waitsForAll = isForAll;
}

/** Adds one that may wait for what is no event of the host's: `isStuck` tells whether it does, `release` ends that. */
export const source = (added) => void sources.push(added);

waitWith({
    isWaiting: () => waiting.size > 0 || sources.some(({ isStuck }) => isStuck()),
    wait(ms) {
        if (waiting.size === 0) return sources.find(({ isStuck }) => isStuck()).release();
        const events = [...waiting.values()];
        // The host looks in order. One that always has something must not keep the others from their turn.
        const others = events.filter(({ tag, val }) => keyOf(tag, val) !== last);
        const isFair = others.length > 0 && others.length < events.length;
        const first = (isFair ? waitFor(others, 0) : undefined) ?? waitFor(events, ms);
        if (!first) return;
        last = keyOf(first.tag, first.val);
        forget(first.tag, first.val)?.resolve();
    },
    // The host closes what an attempt leaves open.
    clear() {
        waiting.clear();
        for (const { clear } of sources) clear();
    },
});

/** The numbers in events of a kind. */
export const numbers = (events, kind) => events.filter(({ tag }) => tag === kind).map(({ val }) => val);
