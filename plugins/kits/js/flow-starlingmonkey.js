// Where jobs are enqueued, in Wasm.

export * as jobs from "kiln:flow/jobs@0.1.0";
