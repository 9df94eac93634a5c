// Streams are those of web-streams-polyfill; here are the ones for text.

import { makeStreamsBy } from "./stream.js";
import { encode, TextDecoder } from "./text.js";
import { ReadableStream, TransformStream } from "./vendor/streams.js";

export * from "./vendor/streams.js";

makeStreamsBy((source) => {
    const bytes = {
        type: "bytes",
        async pull(controller) {
            const piece = await source.pull();
            if (piece) return controller.enqueue(piece);
            controller.close();
            controller.byobRequest?.respond(0);
        },
        cancel: (reason) => source.cancel(reason),
    };
    return new ReadableStream(bytes, { highWaterMark: 0 });
});

/** Both ends of a stream that changes what goes through it. */
class Transform {
    #stream;

    constructor(transformer) {
        this.#stream = new TransformStream(transformer);
    }

    get readable() {
        return this.#stream.readable;
    }

    get writable() {
        return this.#stream.writable;
    }
}

export class TextDecoderStream extends Transform {
    #decoder;

    constructor(label, options) {
        const decoder = new TextDecoder(label, options);
        const put = (text, controller) => text && controller.enqueue(text);
        super({
            transform: (chunk, controller) => put(decoder.decode(chunk, { stream: true }), controller),
            flush: (controller) => put(decoder.decode(), controller),
        });
        this.#decoder = decoder;
    }

    get encoding() {
        return this.#decoder.encoding;
    }

    get fatal() {
        return this.#decoder.fatal;
    }

    get ignoreBOM() {
        return this.#decoder.ignoreBOM;
    }
}

export class TextEncoderStream extends Transform {
    constructor() {
        // The first half of a character whose second is to come.
        let high = "";
        super({
            transform(chunk, controller) {
                const text = high + String(chunk);
                high = /[\ud800-\udbff]$/.exec(text)?.[0] ?? "";
                const bytes = encode(text.slice(0, text.length - high.length));
                if (bytes.length > 0) controller.enqueue(bytes);
            },
            flush(controller) {
                if (high) controller.enqueue(encode(high));
            },
        });
    }

    get encoding() {
        return "utf-8";
    }
}
