// The host's functions, in Wasm, where StarlingMonkey is the engine: that one settles its own promises.

import { getEnvironment } from "wasi:cli/environment@0.2.12";

globalThis.process ??= {
    get env() {
        return Object.fromEntries(getEnvironment());
    },
};

export { isCancelled, progress, remainingMs } from "kiln:job/context@0.1.0";
export { get as config } from "wasi:config/store@0.2.0-rc.1";
export { log } from "wasi:logging/logging@0.1.0-draft";

export async function finish(attempt, done, thrown) {
    try {
        return done(await attempt());
    } catch (err) {
        throw thrown(err);
    }
}

/** Says what nobody caught. */
export const report = (err) => console.error("Uncaught", err?.stack ? `${err}\n${err.stack}` : err);

/** What to throw for the runtime to trap. */
export const crash = (err) => err;
