// Bytes with a type, and with a name; and forms, which hold them.

import { streamOf } from "./stream.js";
import { encode, join, utf8, view } from "./text.js";

/** What a stream of a blob hands over at once. */
const CHUNK_BYTES = 65_536;

/** For bodies, which need not wait. */
export const bytesOfBlob = (blob) => Blob._bytes(blob);

export class Blob {
    #bytes;
    #type;

    constructor(parts = [], { type = "", endings = "transparent" } = {}) {
        if (typeof parts !== "object" || !parts?.[Symbol.iterator]) throw new TypeError("a blob is made of a list");
        this.#bytes = join(Array.from(parts, (part) => bytesOfPart(part, endings)));
        const text = String(type);
        this.#type = /^[\x20-\x7e]*$/.test(text) ? text.toLowerCase() : "";
    }

    static _bytes(blob) {
        return blob.#bytes;
    }

    get size() {
        return this.#bytes.length;
    }

    get type() {
        return this.#type;
    }

    slice(start = 0, end = this.size, type = "") {
        const blob = new Blob([], { type });
        blob.#bytes = this.#bytes.subarray(start, Math.max(end, 0) === end ? end : Math.max(this.size + end, 0));
        return blob;
    }

    async arrayBuffer() {
        return this.#bytes.slice().buffer;
    }

    async bytes() {
        return this.#bytes.slice();
    }

    async text() {
        return utf8(this.#bytes).replace(/^\ufeff/, "");
    }

    stream() {
        const bytes = this.#bytes;
        let at = 0;
        return streamOf({
            pull: async () => (at < bytes.length ? bytes.slice(at, (at += CHUNK_BYTES)) : undefined),
            cancel: () => void (at = bytes.length),
        });
    }

    get [Symbol.toStringTag]() {
        return "Blob";
    }
}

function bytesOfPart(part, endings) {
    if (part instanceof Blob) return bytesOfBlob(part);
    if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) return view(part).slice();
    const text = String(part);
    return encode(endings === "native" ? text.replace(/\r\n?/g, "\n") : text);
}

export class File extends Blob {
    #name;
    #lastModified;

    constructor(parts, name, options = {}) {
        if (name === undefined) throw new TypeError("a file has a name");
        super(parts, options);
        this.#name = String(name);
        this.#lastModified = Math.trunc(Number(options?.lastModified ?? Date.now())) || 0;
    }

    get name() {
        return this.#name;
    }

    get lastModified() {
        return this.#lastModified;
    }

    get webkitRelativePath() {
        return "";
    }

    get [Symbol.toStringTag]() {
        return "File";
    }
}

export class FormData {
    #entries = [];

    append(name, value, fileName) {
        this.#entries.push(entry(name, value, fileName, arguments.length > 2));
    }

    set(name, value, fileName) {
        const made = entry(name, value, fileName, arguments.length > 2);
        const at = this.#entries.findIndex(([key]) => key === made[0]);
        this.delete(made[0]);
        this.#entries.splice(at < 0 ? this.#entries.length : at, 0, made);
    }

    delete(name) {
        this.#entries = this.#entries.filter(([key]) => key !== String(name));
    }

    get(name) {
        return this.#entries.find(([key]) => key === String(name))?.[1] ?? null;
    }

    getAll(name) {
        return this.#entries.filter(([key]) => key === String(name)).map(([, value]) => value);
    }

    has(name) {
        return this.#entries.some(([key]) => key === String(name));
    }

    forEach(run, self) {
        for (const [name, value] of this) run.call(self, value, name, this);
    }

    *entries() {
        for (const pair of this.#entries) yield [...pair];
    }

    *keys() {
        for (const [name] of this.#entries) yield name;
    }

    *values() {
        for (const [, value] of this.#entries) yield value;
    }

    [Symbol.iterator]() {
        return this.entries();
    }

    get [Symbol.toStringTag]() {
        return "FormData";
    }
}

function entry(name, value, fileName, isNamed) {
    const key = String(name).toWellFormed();
    if (!(value instanceof Blob)) {
        if (isNamed) throw new TypeError("only a blob has a file's name");
        return [key, String(value).toWellFormed()];
    }
    if (value instanceof File && !isNamed) return [key, value];
    const options = { type: value.type, lastModified: value.lastModified };
    return [key, new File([value], isNamed ? fileName : "blob", options)];
}

/** A form as the body of a request: the type with the boundary, and the bytes. */
export function multipart(form) {
    const boundary = `----kiln${crypto.randomUUID().replaceAll("-", "")}`;
    const quoted = (text) => text.replace(/\r\n?|\n/g, "%0D%0A").replaceAll('"', "%22");
    const parts = [];
    for (const [name, value] of form) {
        parts.push(encode(`--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`));
        if (value instanceof Blob) {
            const type = value.type || "application/octet-stream";
            parts.push(encode(`; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`), bytesOfBlob(value));
        } else parts.push(encode(`\r\n\r\n${value.replace(/\r\n?|\n/g, "\r\n")}`));
        parts.push(encode("\r\n"));
    }
    parts.push(encode(`--${boundary}--\r\n`));
    return { type: `multipart/form-data; boundary=${boundary}`, bytes: join(parts) };
}
