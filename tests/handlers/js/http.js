// One request, as `tests/suite/clients.rs` describes it.

import { checkStatus } from "./kiln/index.js";

export async function http({ method, url, headers, body, repeat, timeout_ms, check, add_up, then }) {
    const signal = timeout_ms ? AbortSignal.timeout(timeout_ms) : undefined;
    const response = await fetch(url, { method, headers, body: body?.repeat(repeat ?? 1), signal });
    if (check) checkStatus(response);
    if (add_up) return added(response, then);
    return { status: response.status, headers: [...response.headers], body: await response.text() };
}

async function added(response, then) {
    let [bytes, sum] = [0, 0];
    for await (const piece of response.body) {
        if (bytes === 0 && then) await fetch(then);
        bytes += piece.length;
        for (const byte of piece) sum += byte;
    }
    return { bytes, sum };
}
