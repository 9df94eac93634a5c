import assert from "node:assert/strict";
import test from "node:test";

import { handler } from "./handler.js";
import { Permanent, Retry } from "./kiln/index.js";
import { attempt } from "./kiln/testing.js";

const tea = { name: "tea", price_cents: 450, quantity: 2 };

test("an order is totalled", async () => {
    const digest = await attempt(handler, { customer: "Ada", items: [tea, { ...tea, quantity: 1 }] });
    assert.deepEqual(digest, { customer: "Ada", total_cents: 1350, lines: 2 });
});

test("an order that makes no sense fails for good", async () => {
    await assert.rejects(attempt(handler, { customer: "Ada", items: [] }), Permanent);
    const none = { customer: "Ada", items: [{ ...tea, quantity: 0 }] };
    await assert.rejects(attempt(handler, none), new Permanent("the quantity of tea is not positive"));
    await assert.rejects(attempt(handler, { items: [tea] }), /payload: customer: missing/);
});

test("an unknown stock is asked for again in half a minute", async () => {
    const order = { customer: "Ada", items: [{ ...tea, stock: "unknown" }] };
    await assert.rejects(attempt(handler, order), new Retry("the stock of tea is not known yet", { afterMs: 30_000 }));
});
