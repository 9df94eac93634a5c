import assert from "node:assert/strict";
import test from "node:test";

import { handler } from "./handler.js";
import { Permanent, Retry } from "./kiln/index.js";
import { attempt } from "./kiln/testing.js";

test("what it is told to return comes back", async () => {
    assert.deepEqual(await attempt(handler, { do: "typed", text: "a😀", count: 1 }), { text: "a😀", length: 2, count: 2 });
    assert.deepEqual(await attempt(handler, [1]), [1]);
    assert.equal(await attempt(handler, { do: "none" }), undefined);
});

test("it fails as it is told to", async () => {
    await assert.rejects(attempt(handler, { do: "retry-after", message: "m", ms: 5 }), new Retry("m", { afterMs: 5 }));
    await assert.rejects(attempt(handler, { do: "what" }), new Permanent("unknown: what"));
    await assert.rejects(attempt(handler, { do: "typed", text: 1 }), /payload: text: expected a string, got 1/);
});
