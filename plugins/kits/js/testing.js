// Runs a handler outside Wasm.

import { settings } from "./host-native.js";
import { resultText } from "./index.js";

export { enqueued } from "./flow-native.js";

export async function attempt(handler, payload, { payloadText = JSON.stringify(payload), ...given } = {}) {
    const { metadata = {}, createdAt, config = {}, remainingMs = 30_000, isCancelled = false, ...job } = given;
    Object.assign(settings, { config, remainingMs, isCancelled });
    const json = resultText(
        await handler.attempt({
            id: "test",
            name: "test",
            queue: "default",
            attempt: 1,
            maxAttempts: 3,
            ...job,
            payload: payloadText,
            createdAtMs: createdAt?.getTime() ?? 0,
            metadata: JSON.stringify(metadata),
        }),
    );
    return json === undefined ? undefined : JSON.parse(json);
}
