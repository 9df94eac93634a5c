// Where values are kept, in Wasm.

import { latin1 } from "./web/text.js";

export * as values from "kiln:state/values@0.1.0";
export { encode } from "./web/text.js";

/** The text of bytes that are UTF-8; throws where they are not. */
export const decode = (bytes) => decodeURIComponent(escape(latin1(bytes)));
