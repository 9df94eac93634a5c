// Tests how the kit enqueues jobs outside Wasm, where a test sees them.

import assert from "node:assert/strict";
import test from "node:test";

import { enqueue } from "./kiln/flow.js";
import { Permanent, rawJson } from "./kiln/index.js";
import { enqueued } from "./kiln/testing.js";

test("a test sees what was enqueued", () => {
    assert.equal(enqueue("a", rawJson("[1.0]")), "follow-up-1");
    enqueue("b", undefined, { delay: "5m" });
    assert.deepEqual(enqueued(), [
        { name: "a", payload: [1], options: {} },
        { name: "b", payload: null, options: { delay: "5m" } },
    ]);
    assert.deepEqual(enqueued(), []);
});

test("what JSON cannot hold is no payload", () => {
    assert.throws(() => enqueue("a", () => 1), (err) => err instanceof Permanent && err.message.startsWith("enqueue: the payload: "));
});
