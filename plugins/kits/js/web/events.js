// Events, and the signals that abort what takes long. There is no tree of targets, so nothing is captured or bubbles.

import { setTimeout } from "../promise.js";

export class Event {
    #options;
    #canceled = false;
    /** Set while it is dispatched. */
    _stopped = false;
    target = null;
    currentTarget = null;
    timeStamp = performance.now();

    constructor(type, options = {}) {
        this.type = String(type);
        this.#options = options ?? {};
    }

    get bubbles() {
        return Boolean(this.#options.bubbles);
    }

    get cancelable() {
        return Boolean(this.#options.cancelable);
    }

    get composed() {
        return Boolean(this.#options.composed);
    }

    get defaultPrevented() {
        return this.#canceled;
    }

    preventDefault() {
        if (this.cancelable) this.#canceled = true;
    }

    stopPropagation() {}

    stopImmediatePropagation() {
        this._stopped = true;
    }
}

export class CustomEvent extends Event {
    constructor(type, options = {}) {
        super(type, options);
        this.detail = options?.detail ?? null;
    }
}

export class EventTarget {
    /** By type: what was added, in this order. */
    #listeners = new Map();

    addEventListener(type, listener, options) {
        if (!listener) return;
        const { once = false, signal } = typeof options === "object" && options ? options : {};
        if (signal?.aborted) return;
        const list = this.#listeners.get(type) ?? [];
        if (list.some((added) => added.listener === listener)) return;
        this.#listeners.set(type, [...list, { listener, once }]);
        signal?.addEventListener("abort", () => this.removeEventListener(type, listener), { once: true });
    }

    removeEventListener(type, listener) {
        const list = this.#listeners.get(type) ?? [];
        this.#listeners.set(type, list.filter((added) => added.listener !== listener));
    }

    dispatchEvent(event) {
        event.target = event.currentTarget = this;
        const own = this[`on${event.type}`];
        if (typeof own === "function") own.call(this, event);
        for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
            if (event._stopped) break;
            if (once) this.removeEventListener(event.type, listener);
            if (typeof listener === "function") listener.call(this, event);
            else listener.handleEvent(event);
        }
        event.currentTarget = null;
        return !event.defaultPrevented;
    }
}

/** Whoever has it may make a signal. */
const OWN = Symbol();

export class AbortSignal extends EventTarget {
    onabort = null;
    #reason;
    #aborted = false;

    constructor(key) {
        if (key !== OWN) throw new TypeError("Illegal constructor");
        super();
    }

    static _make() {
        return new AbortSignal(OWN);
    }

    static abort(reason) {
        const signal = AbortSignal._make();
        signal._abort(reason);
        return signal;
    }

    static timeout(ms) {
        const signal = AbortSignal._make();
        setTimeout(() => signal._abort(new DOMException("The operation timed out", "TimeoutError")), ms);
        return signal;
    }

    static any(signals) {
        const all = [...signals];
        const any = AbortSignal._make();
        const abort = (event) => any._abort(event.target.reason);
        const aborted = all.find((signal) => signal.aborted);
        if (aborted) any._abort(aborted.reason);
        else for (const signal of all) signal.addEventListener("abort", abort, { once: true });
        return any;
    }

    get aborted() {
        return this.#aborted;
    }

    get reason() {
        return this.#reason;
    }

    throwIfAborted() {
        if (this.#aborted) throw this.#reason;
    }

    _abort(reason = new DOMException("This operation was aborted", "AbortError")) {
        if (this.#aborted) return;
        this.#aborted = true;
        this.#reason = reason;
        this.dispatchEvent(new Event("abort"));
    }
}

export class AbortController {
    #signal = AbortSignal._make();

    get signal() {
        return this.#signal;
    }

    abort(reason) {
        this.#signal._abort(reason);
    }
}
