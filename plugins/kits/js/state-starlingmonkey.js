// Where values are kept, in Wasm.

import * as host from "kiln:state/values@0.1.0";
import { latin1 } from "./web/text.js";

/** The engine takes numbers of 64 bits as either, and hands out BigInt. */
export const values = {
    ...host,
    get: (...args) => host.get(...args).map((entry) => entry && { ...entry, version: Number(entry.version) }),
    write: (...args) =>
        host.write(...args).map(({ version, number }) => ({ version: Number(version), number: Number(number) })),
};

export { encode } from "./web/text.js";

/** The text of bytes that are UTF-8; throws where they are not. */
export const decode = (bytes) => decodeURIComponent(escape(latin1(bytes)));
