// As much of Node's `EventEmitter` as sockets are used with.

export class EventEmitter {
    #listeners = new Map();

    on(name, listener) {
        this.#of(name).push({ listener, run: listener });
        return this;
    }

    prependListener(name, listener) {
        this.#of(name).unshift({ listener, run: listener });
        return this;
    }

    once(name, listener) {
        const run = (...args) => {
            this.off(name, listener);
            return listener.apply(this, args);
        };
        this.#of(name).push({ listener, run });
        return this;
    }

    off(name, listener) {
        const found = this.#of(name);
        const at = found.findLastIndex((entry) => entry.listener === listener);
        // A new array: one that is told meanwhile is told to the end.
        if (at >= 0) this.#listeners.set(name, found.toSpliced(at, 1));
        return this;
    }

    removeAllListeners(name) {
        if (name === undefined) this.#listeners.clear();
        else this.#listeners.delete(name);
        return this;
    }

    emit(name, ...args) {
        const found = [...this.#of(name)];
        // As in Node.js: an error that nobody hears of is no secret.
        if (found.length === 0 && name === "error") throw args[0];
        for (const { run } of found) run.apply(this, args);
        return found.length > 0;
    }

    listeners(name) {
        return this.#of(name).map(({ listener }) => listener);
    }

    listenerCount(name) {
        return this.#of(name).length;
    }

    eventNames() {
        return [...this.#listeners.keys()].filter((name) => this.listenerCount(name) > 0);
    }

    setMaxListeners() {
        return this;
    }

    addListener(name, listener) {
        return this.on(name, listener);
    }

    removeListener(name, listener) {
        return this.off(name, listener);
    }

    #of(name) {
        if (!this.#listeners.has(name)) this.#listeners.set(name, []);
        return this.#listeners.get(name);
    }
}
