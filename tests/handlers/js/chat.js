// The answer of a language model as its users read it: server-sent events that come while it is being made.

import { checkStatus, progress, Retry } from "./kiln/index.js";

export async function chat({ url, question }) {
    const response = await fetch(new URL("/v1/chat/completions", url), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "tea", stream: true, messages: [{ role: "user", content: question }] }),
    });
    checkStatus(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let [rest, text, pieces] = ["", "", 0];
    for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Retry("the answer broke off");
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
            const data = /^data: (.*)$/.exec(line)?.[1];
            if (data === undefined) continue;
            if (data === "[DONE]") return { text, pieces };
            text += JSON.parse(data).choices[0].delta.content ?? "";
            pieces += 1;
            progress(Math.min(pieces, 99), `${text.length} characters`);
        }
    }
}
