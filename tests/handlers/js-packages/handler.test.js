// In Node.js the same packages come to the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { handler } from "./handler.js";
import { attempt } from "./kiln/testing.js";

test("packages work outside Wasm, too", async () => {
    assert.deepEqual(await attempt(handler, { package: "lodash" }), { g: 9, b: 5 });
    assert.equal(await attempt(handler, { package: "date-fns" }), "2026-02-28");
});
