// How values are put in text, by the log and by the console.

import { readable } from "./stack.js";

export const format = (parts) => parts.map(show).join(" ").toWellFormed();

function show(value) {
    if (typeof value === "string") return value;
    if (value instanceof Error) return describe(value);
    try {
        return JSON.stringify(value) ?? String(value);
    } catch {
        // A cycle, or a BigInt.
        return String(value);
    }
}

/** An error with its stack, and with what caused it. */
export function describe(err) {
    if (!(err instanceof Error)) return show(err);
    const stack = err.stack ?? "";
    // QuickJS leaves out the first line, which says what it is.
    const text = stack.startsWith(String(err)) ? stack : `${err}\n${stack}`;
    const cause = err.cause === undefined ? "" : `\ncaused by ${describe(err.cause)}`;
    return readable(text.trimEnd()) + cause;
}
