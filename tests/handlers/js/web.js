// What handlers do with the web's APIs; each takes the server's address, and more where it says so.

import { failed } from "./cases.js";

/** Of what failed, what a program can tell. */
const told = (err) => ({ name: err.name, message: err.message, kind: err.cause?.kind ?? null });

async function caught(promise) {
    try {
        await promise;
    } catch (err) {
        return told(err);
    }
}

export const web = {
    async json({ url }) {
        const headers = new Headers({ "Content-Type": "application/json", "X-Tea": "grün" });
        const request = new Request(new URL("/orders?page=2#top", url), { method: "post", headers, body: JSON.stringify({ a: 1 }) });
        const response = await fetch(request);
        return { used: request.bodyUsed, ok: response.ok, url: response.url, said: await response.json() };
    },

    async form({ url }) {
        const form = new FormData();
        form.append("name", "Ada");
        form.append("file", new File(["tea\n"], "tea.txt", { type: "text/plain" }));
        const response = await fetch(url, { method: "POST", body: form });
        const back = await new Response(await response.clone().blob(), { headers: response.headers }).formData();
        const file = back.get("file");
        return { text: await response.text(), name: back.get("name"), file: [file.name, file.type, await file.text()] };
    },

    /** Tells the server of each event once it has come, before which the server sends no more. */
    async events({ url }) {
        const response = await fetch(new URL("/events", url));
        const seen = [];
        let rest = "";
        for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
            const events = (rest + text).split("\n\n");
            rest = events.pop();
            for (const event of events) {
                seen.push(event.replace(/^data: /, ""));
                await (await fetch(new URL(`/seen/${seen.length}`, url))).text();
            }
        }
        return seen;
    },

    /** Sends the second piece of a body once the server says that it has the first. */
    async upload({ url }) {
        const pieces = async function* () {
            yield new TextEncoder().encode("first,");
            await (await fetch(new URL("/arrived", url))).text();
            yield new TextEncoder().encode("second");
        };
        const body = ReadableStream.from(pieces());
        const response = await fetch(new URL("/upload", url), { method: "PUT", body, duplex: "half" });
        return response.status;
    },

    /** The answer's head alone, then as many bytes as asked for, then no more. */
    async some({ url }) {
        const response = await fetch(url);
        const reader = response.body.getReader();
        const { value } = await reader.read();
        await reader.cancel();
        return { first: new TextDecoder().decode(value), used: response.bodyUsed, again: await caught(response.text()) };
    },

    async redirect({ url, init }) {
        const response = await fetch(url, init);
        return { status: response.status, url: response.url, redirected: response.redirected, text: await response.text() };
    },

    async failing({ url, init }) {
        return caught(fetch(url, init).then((response) => response.text()));
    },

    /** Aborts one of two once the other is answered. */
    async abort({ url }) {
        const controller = new AbortController();
        const silent = caught(fetch(new URL("/silent", url), { signal: controller.signal }));
        await (await fetch(new URL("/other", url))).text();
        controller.abort();
        const late = caught(fetch(url, { signal: AbortSignal.any([controller.signal, AbortSignal.timeout(60_000)]) }));
        return [await silent, await late];
    },

    /** Aborts while the body comes. */
    async abortBody({ url }) {
        const controller = new AbortController();
        const response = await fetch(url, { signal: controller.signal });
        setTimeout(() => controller.abort(new Error("enough")), 1);
        return caught(response.text());
    },

    /** Reads an answer that never ends until another request is answered. */
    async endless({ url }) {
        const controller = new AbortController();
        const endless = await fetch(new URL("/endless", url), { signal: controller.signal });
        const reading = caught(endless.body.pipeTo(new WritableStream()));
        const other = await (await fetch(new URL("/other", url))).text();
        controller.abort();
        return { other, ended: (await reading).name };
    },

    async parallel({ url, count }) {
        let ticks = 0;
        // Due again whenever it has run.
        const timer = setInterval(() => {
            const end = performance.now() + 2;
            while (performance.now() < end) ticks += 1;
        }, 1);
        const urls = Array.from({ length: count }, (_, i) => new URL(`/${i}`, url));
        const answers = await Promise.all(urls.map(async (url) => (await fetch(url)).text()));
        clearInterval(timer);
        return { answers, ticked: ticks > 0 };
    },

    /** Makes one request after the other, and reads no answer. */
    async unread({ url, count }) {
        const responses = [];
        for (let i = 0; i < count; i++) responses.push(await fetch(new URL(`/${i}`, url)));
        return Promise.all(responses.map((response) => response.text()));
    },

    /** Cases of `tests/data/web` that do not come out as they should. */
    cases: ({ kind, cases }) => failed(kind, cases),
};
