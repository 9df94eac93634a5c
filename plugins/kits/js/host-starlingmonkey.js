// The host's functions, in Wasm, where StarlingMonkey is the engine: that one settles its own promises.

import * as context from "kiln:job/context@0.1.0";
import { getEnvironment } from "wasi:cli/environment@0.2.12";
import { describe } from "./format.js";

globalThis.process ??= {
    get env() {
        return Object.fromEntries(getEnvironment());
    },
};

/** Reads a stream piece by piece, for which the engine has a reader only. */
ReadableStream.prototype[Symbol.asyncIterator] ??= async function* () {
    const reader = this.getReader();
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            yield value;
        }
    } finally {
        await reader.cancel().catch(() => {});
    }
};

export { isCancelled, progress } from "kiln:job/context@0.1.0";
export { get as config } from "wasi:config/store@0.2.0-rc.1";
export { log } from "wasi:logging/logging@0.1.0-draft";

/** The engine hands out numbers of 64 bits as BigInt. */
export const remainingMs = () => Number(context.remainingMs());

export async function finish(attempt, done, thrown) {
    try {
        return done(await attempt());
    } catch (err) {
        throw thrown(err);
    }
}

/** Says what nobody caught. */
export const report = (err) => console.error(`Uncaught ${describe(err).toWellFormed()}`);

/** What to throw for the runtime to trap. */
export const crash = (err) => err;
