// What programs expect to find in any JavaScript, and QuickJS alone lacks. `kiln build` has it evaluated before all
// else, so that it is there for whatever packages do while they load.

import { getEnvironment } from "wasi:cli/environment";
import { getStderr } from "wasi:cli/stderr";
import { getStdout } from "wasi:cli/stdout";
import { now } from "wasi:clocks/monotonic-clock";
import { getRandomBytes } from "wasi:random/random";
import { format } from "./format.js";
import { clearTimeout, KilnPromise, queueMicrotask, setInterval, setTimeout } from "./promise.js";
import { encode } from "./web/text.js";

/** What one call writes at most. */
const CHUNK_BYTES = 4096;

/** Writes a line to captured standard output or error. */
export function print(stream, line) {
    const bytes = encode(`${line}\n`);
    // Not kept for the next line: what is open while the component is built is not when it runs.
    const out = stream === "stderr" ? getStderr() : getStdout();
    try {
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
            out.blockingWriteAndFlush(bytes.subarray(at, at + CHUNK_BYTES));
        }
    } catch {
        // The build takes 10,000 bytes and no more. To print never fails.
    } finally {
        out[Symbol.dispose]?.();
    }
}

const to = (stream) => (...parts) => print(stream, format(parts));

function getRandomValues(array) {
    const bytes = getRandomBytes(array.byteLength);
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes);
    return array;
}

function randomUUID() {
    const bytes = getRandomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

Object.assign(globalThis, {
    console: {
        log: to("stdout"),
        info: to("stdout"),
        debug: to("stdout"),
        warn: to("stderr"),
        error: to("stderr"),
    },
    crypto: { getRandomValues, randomUUID },
    // The engine's own counts from when the component was built.
    performance: { now: () => now() / 1e6 },
    // Read anew each time: while the component is built there is none.
    process: {
        get env() {
            return Object.fromEntries(getEnvironment());
        },
    },
    clearImmediate: clearTimeout,
    clearInterval: clearTimeout,
    clearTimeout,
    Promise: KilnPromise,
    queueMicrotask,
    // What packages for browsers call the global object.
    self: globalThis,
    setImmediate: (run, ...args) => setTimeout(run, 0, ...args),
    setInterval,
    setTimeout,
});

// QuickJS seeds its own generator once, while the component is built: every attempt would draw the same numbers.
Math.random = () => {
    const [high, low] = new Uint32Array(getRandomBytes(8).buffer);
    return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
};

// An error of a package's, through its layers and those of the kit, would end before it comes to the handler's own line.
Error.stackTraceLimit = 50;

// It would make a promise of the engine's own, which nothing here settles.
delete Array.fromAsync;
