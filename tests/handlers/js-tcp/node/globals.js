// What packages for Node.js expect to find, as far as these ask for it. To be imported before them.

import { Buffer } from "buffer";

globalThis.global ??= globalThis;
globalThis.Buffer ??= Buffer;
process.version ??= "v22.0.0";
process.nextTick ??= (run, ...args) => queueMicrotask(() => run(...args));
