// The streams that bodies are. Where a program names `ReadableStream` or what one can do beside being read (`names.json`),
// they are those of `streams.js`; else these, which cost a tenth of the memory.

let make = (source) => new ByteStream(source);

/** Has streams made by something else: `streams.js` does so once it is there. */
export const makeStreamsBy = (by) => void (make = by);

/** A stream of a source of bytes: `pull` yields the next ones, or nothing at the end. */
export const streamOf = (source) => make(source);

/** Whether a value brings one thing after another. */
export const isStream = (value) => typeof value === "object" && value !== null && Symbol.asyncIterator in value;

class ByteStream {
    #source;
    #reader;

    constructor(source) {
        this.#source = source;
    }

    get locked() {
        return this.#reader !== undefined;
    }

    getReader() {
        if (this.locked) throw new TypeError("the stream is locked");
        this.#reader = new Reader(this.#source, () => (this.#reader = undefined));
        return this.#reader;
    }

    async cancel(reason) {
        if (this.locked) throw new TypeError("the stream is locked");
        await this.#source.cancel(reason);
    }

    async *values({ preventCancel = false } = {}) {
        const reader = this.getReader();
        let isDone = false;
        try {
            for (;;) {
                const { done, value } = await reader.read();
                isDone = done;
                if (done) return;
                yield value;
            }
        } catch (err) {
            isDone = true;
            throw err;
        } finally {
            if (!isDone && !preventCancel) await reader.cancel();
            reader.releaseLock();
        }
    }

    [Symbol.asyncIterator](options) {
        return this.values(options);
    }

    get [Symbol.toStringTag]() {
        return "ReadableStream";
    }
}

class Reader {
    #source;
    #release;
    #end;
    closed = new Promise((resolve, reject) => (this.#end = { resolve, reject }));
    /** Pieces come one after the other, however many are asked for at once. */
    #last = Promise.resolve();

    constructor(source, release) {
        this.#source = source;
        this.#release = release;
        this.closed.catch(() => {});
    }

    read() {
        const source = this.#source;
        if (!source) return Promise.reject(new TypeError("the reader has released its stream"));
        const next = this.#last.then(() => source.pull());
        this.#last = next.catch((err) => this.#end.reject(err));
        return next.then((value) => {
            if (value !== undefined) return { done: false, value };
            this.#end.resolve();
            return { done: true, value: undefined };
        });
    }

    async cancel(reason) {
        if (!this.#source) throw new TypeError("the reader has released its stream");
        await this.#source.cancel(reason);
        this.#end.resolve();
    }

    releaseLock() {
        if (!this.#source) return;
        this.#source = undefined;
        this.#end.reject(new TypeError("the reader has released its stream"));
        this.#release();
    }
}
