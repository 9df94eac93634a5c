// The host's functions, in Wasm.

import { describe } from "./format.js";
import { print } from "./globals.js";
import { settle } from "./promise.js";

export { isCancelled, progress, remainingMs } from "kiln:job/context";
export { get as config } from "wasi:config/store";
export { log } from "wasi:logging/logging";

/** Runs an attempt to its end: the engine does not settle its own promises before. */
export function finish(attempt, done, thrown) {
    try {
        return done(settle(attempt()));
    } catch (err) {
        throw thrown(err);
    }
}

/** Says what nobody caught. */
export const report = (err) => print("stderr", `Uncaught ${describe(err).toWellFormed()}`);

/** What to throw for the runtime to trap. */
export function crash(err) {
    const text = describe(err).toWellFormed();
    const end = new Error(text.split("\n", 2).map((line) => line.trim()).join(" "));
    // The runtime prints it once more, with a stack that ends here.
    end.stack = "";
    return end;
}
