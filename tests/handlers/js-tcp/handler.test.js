// Outside Wasm the sockets are those of Node.js.

import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { handler } from "./handler.js";
import { attempt } from "./kiln/testing.js";

test("the server may speak first", async () => {
    const server = net.createServer((socket) => {
        socket.write("220 tea\n");
        socket.pipe(socket);
    });
    await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
    const { port } = server.address();
    const job = { do: "greet", client: "net", host: "127.0.0.1", port, text: "milk" };
    assert.deepEqual(await attempt(handler, job), { greeting: "220 tea", answer: "milk" });
    server.close();
});
