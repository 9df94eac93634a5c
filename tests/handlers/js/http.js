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
        for (let at = 0; at < piece.length; at += 1) sum += piece[at];
    }
    return { bytes, sum };
}

/** Uploads what the server takes only once something else was asked of it. */
export async function meanwhile({ url, size }) {
    const pieces = async function* () {
        const piece = new Uint8Array(100_000).fill(120);
        for (let left = size; left > 0; left -= piece.length) yield piece.subarray(0, left);
    };
    const upload = fetch(`${url}/upload`, { method: "POST", body: ReadableStream.from(pieces()), duplex: "half" });
    await new Promise((wake) => setTimeout(wake, 5));
    const other = await fetch(`${url}/other`);
    return [await (await upload).text(), await other.text()];
}
