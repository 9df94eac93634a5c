// `structuredClone`.

import { Blob, File } from "./blob.js";

const refused = (value) => {
    const what = typeof value === "symbol" ? "a symbol" : typeof value === "function" ? "a function" : "an object of its kind";
    return new DOMException(`${what} cannot be cloned`, "DataCloneError");
};

const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** A copy of a value and of all that hangs on it; what refers to one another there does so in the copy. */
export function structuredClone(value, { transfer = [] } = {}) {
    const copies = new Map();
    for (const buffer of transfer) {
        if (!(buffer instanceof ArrayBuffer)) throw refused(buffer);
        copies.set(buffer, buffer.slice());
    }
    const copied = copy(value, copies);
    for (const buffer of transfer) buffer.transfer();
    return copied;
}

function copy(value, copies) {
    if (typeof value === "symbol" || typeof value === "function") throw refused(value);
    if (typeof value !== "object" || value === null) return value;
    if (copies.has(value)) return copies.get(value);
    const made = shell(value, copies);
    copies.set(value, made);
    if (value instanceof Map) for (const [key, item] of [...value]) made.set(copy(key, copies), copy(item, copies));
    else if (value instanceof Set) for (const item of [...value]) made.add(copy(item, copies));
    else if (isPlain(value)) for (const key of Object.keys(value)) made[key] = copy(value[key], copies);
    return made;
}

const isPlain = (value) => Array.isArray(value) || kind(value) === "[object Object]";
const kind = (value) => Object.prototype.toString.call(value);

/** A copy without what hangs on it. */
function shell(value, copies) {
    if (Array.isArray(value)) return new Array(value.length);
    if (value instanceof Date) return new Date(value.getTime());
    if (value instanceof RegExp) return new RegExp(value.source, value.flags);
    if (value instanceof Map) return new Map();
    if (value instanceof Set) return new Set();
    if (value instanceof ArrayBuffer) return value.slice();
    if (ArrayBuffer.isView(value)) {
        const buffer = copy(value.buffer, copies);
        return new value.constructor(buffer, value.byteOffset, value instanceof DataView ? value.byteLength : value.length);
    }
    if (value instanceof Blob) return value instanceof File ? new File([value], value.name, value) : value.slice(0, value.size, value.type);
    if (value instanceof DOMException) return new DOMException(value.message, value.name);
    if (value instanceof Error) return error(value, copies);
    if (value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef || value.then) throw refused(value);
    if ([Boolean, Number, String, BigInt].some((wrapper) => value instanceof wrapper)) return Object(value.valueOf());
    if (kind(value) === "[object Object]") return {};
    throw refused(value);
}

function error(value, copies) {
    const options = Object.hasOwn(value, "cause") ? { cause: copy(value.cause, copies) } : undefined;
    const made = new (ERRORS[value.name] ?? Error)(value.message, options);
    Object.defineProperty(made, "stack", { value: value.stack, writable: true, configurable: true });
    return made;
}
