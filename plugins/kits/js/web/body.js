// What requests and responses carry: bytes that are there, or a stream of them, and the ways to read it.

import { Blob, bytesOfBlob, File, FormData, multipart } from "./blob.js";
import { isStream, streamOf } from "./stream.js";
import { bytesOf, encode, join, latin1, utf8, view } from "./text.js";
import { URLSearchParams } from "./url.js";

/** Bytes of a body, its type, and the stream it comes from if there are none yet. */
export function extract(init) {
    if (init === undefined || init === null) return {};
    if (isStream(init)) {
        if (init.locked) throw new TypeError("the stream is locked");
        return { stream: init };
    }
    if (init instanceof Blob) return { bytes: bytesOfBlob(init), type: init.type || undefined };
    if (init instanceof FormData) return multipart(init);
    if (init instanceof URLSearchParams) {
        return { bytes: encode(init), type: "application/x-www-form-urlencoded;charset=UTF-8" };
    }
    if (ArrayBuffer.isView(init) || init instanceof ArrayBuffer) return { bytes: view(init).slice() };
    return { bytes: encode(init), type: "text/plain;charset=UTF-8" };
}

/** How a response, or a request, is given the body of another. */
export const give = (owner, body) => Body._give(owner, body);
/** What a body is made of; it then counts as read. */
export const take = (owner) => Body._take(owner);
/** A second body like that of an owner. */
export const copy = (owner) => Body._copy(owner);

export class Body {
    #bytes;
    #stream;
    /** Of an answer whose body has not all come. */
    #exchange;
    #isUsed = false;

    static _give(owner, { bytes, stream, exchange }) {
        owner.#bytes = bytes;
        owner.#stream = stream;
        owner.#exchange = exchange;
    }

    static _take(owner) {
        owner.#use();
        return { bytes: owner.#bytes, stream: owner.#stream, exchange: owner.#exchange };
    }

    static _copy(owner) {
        if (owner.bodyUsed || owner.#stream?.locked) throw new TypeError("the body was read, or is being read");
        if (owner.#bytes && !owner.#stream) return { bytes: owner.#bytes };
        const source = owner.#source();
        if (!source && !owner.#stream) return {};
        const [own, other] = (source ? streamOf(source) : owner.#stream).tee();
        owner.#stream = own;
        owner.#bytes = owner.#exchange = undefined;
        return { stream: other };
    }

    get body() {
        const source = this.#source();
        if (source) this.#stream = streamOf({ ...source, pull: () => ((this.#isUsed = true), source.pull()) });
        return this.#stream ?? null;
    }

    /** Where the bytes of a stream come from that is still to be made. */
    #source() {
        if (this.#stream) return this.#stream.getReader ? undefined : ofIterator(this.#stream);
        const exchange = this.#exchange;
        if (exchange) return { pull: () => exchange.read(), cancel: () => exchange.close() };
        if (!this.#bytes) return undefined;
        const pieces = [this.#bytes.slice()];
        return { pull: async () => pieces.shift(), cancel: () => void pieces.pop() };
    }

    get bodyUsed() {
        return this.#isUsed;
    }

    async bytes() {
        const { bytes, stream, exchange } = Body._take(this);
        if (stream) return join(await piecesOf(stream));
        if (!exchange) return bytes?.slice() ?? new Uint8Array();
        const pieces = [];
        for (let piece; (piece = await exchange.read()); ) pieces.push(piece);
        return join(pieces);
    }

    async arrayBuffer() {
        const bytes = await this.bytes();
        return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
    }

    async text() {
        return utf8(await this.bytes()).replace(/^\ufeff/, "");
    }

    async json() {
        return JSON.parse(await this.text());
    }

    async blob() {
        const type = this.headers.get("content-type") ?? "";
        return new Blob([await this.bytes()], { type });
    }

    async formData() {
        const type = this.headers.get("content-type") ?? "";
        const bytes = await this.bytes();
        if (/^application\/x-www-form-urlencoded\b/i.test(type)) {
            const form = new FormData();
            for (const [name, value] of new URLSearchParams(utf8(bytes))) form.append(name, value);
            return form;
        }
        const boundary = /^multipart\/form-data\b.*;\s*boundary="?([^";]+)"?/i.exec(type)?.[1];
        if (!boundary) throw new TypeError("the body is no form");
        return parsed(latin1(bytes), boundary);
    }

    #use() {
        if (this.bodyUsed || this.#stream?.locked) throw new TypeError("Body is unusable: it was read, or is being read");
        this.#isUsed = Boolean(this.#bytes || this.#stream || this.#exchange);
    }
}

/** What of a form arrived as multipart, one character for each byte. */
function parsed(text, boundary) {
    const form = new FormData();
    const parts = `\r\n${text}`.split(`\r\n--${boundary}`).slice(1);
    if (parts.pop()?.slice(0, 2) !== "--") throw new TypeError("the form has no end");
    for (const part of parts) {
        const end = part.indexOf("\r\n\r\n");
        const head = utf8(bytesOf(part.slice(0, end)));
        const value = bytesOf(part.slice(end + 4));
        const of = (key) => new RegExp(`[;\\s]${key}="([^"]*)"`, "i").exec(head)?.[1].replaceAll("%22", '"').replaceAll("%0D%0A", "\r\n");
        if (end < 0 || of("name") === undefined) throw new TypeError("a part of the form has no name");
        const type = /^content-type:\s*(.*)$/im.exec(head)?.[1].trim() ?? "text/plain";
        if (of("filename") === undefined) form.append(of("name"), utf8(value));
        else form.append(of("name"), new File([value], of("filename"), { type }));
    }
    return form;
}

/** What something brings that is no stream but can be gone through, such as an async generator. */
function ofIterator(iterable) {
    const iterator = iterable[Symbol.asyncIterator]();
    return {
        async pull() {
            const { done, value } = await iterator.next();
            return done ? undefined : bytesOfChunk(value);
        },
        cancel: (reason) => iterator.return?.(reason),
    };
}

/** All that a stream brings, in bytes. */
async function piecesOf(stream) {
    const pieces = [];
    for await (const piece of stream) pieces.push(bytesOfChunk(piece));
    return pieces;
}

/** A chunk of a stream that is a body. */
export function bytesOfChunk(chunk) {
    if (chunk instanceof Uint8Array) return chunk;
    throw new TypeError("the stream of a body brings Uint8Array, and nothing else");
}
