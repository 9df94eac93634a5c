// One request, as `tests/suite/clients.rs` describes it.

import { checkStatus } from "./kiln/index.js";

export interface Asked {
    method: string;
    url: string;
    headers?: [string, string][];
    body?: string;
    repeat?: number;
    timeout_ms?: number;
    check?: boolean;
    add_up?: boolean;
    then?: string;
}

export async function http({ method, url, headers, body, repeat, timeout_ms, check, add_up, then }: Asked) {
    const signal = timeout_ms ? AbortSignal.timeout(timeout_ms) : null;
    const sent = repeat && body ? pieces(body, repeat) : body;
    const response = await fetch(new Request(url, { method, headers: new Headers(headers), body: sent, signal }));
    if (check) checkStatus(response);
    if (add_up) return added(response, then);
    return { status: response.status, headers: [...response.headers], body: await response.text() };
}

const AT_ONCE = 1000;

/** The same text many times. */
async function* pieces(text: string, count: number) {
    for (let left = count; left > 0; left -= AT_ONCE) {
        yield new TextEncoder().encode(text.repeat(Math.min(left, AT_ONCE)));
    }
}

async function added(response: Response, then?: string) {
    const reader = response.body?.getReader();
    let [bytes, sum] = [0, 0];
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) {
        if (bytes === 0 && then) await fetch(then);
        bytes += next.value.length;
        sum += next.value.reduce((total: number, byte: number) => total + byte, 0);
    }
    return { bytes, sum };
}
