import assert from "node:assert/strict";
import test from "node:test";

import { handler } from "./handler.js";
import { Permanent } from "./kiln/index.js";
import { attempt } from "./kiln/testing.js";

const tea = { sku: "tea-1", name: "tea", price_cents: 450, quantity: 2, tax_percent: 7 };
const order = {
    id: "A-1",
    placed_at: "2026-03-01T10:00:00+02:00",
    customer: { name: " Ada  Lovelace", email: "Ada@Example.com", country: "gb" },
    currency: "EUR",
    items: [tea],
};

test("an order comes back in its normal form", async () => {
    const cup = { ...tea, sku: "CUP", name: "cup ", quantity: 1 };
    const normal = await attempt(handler, { ...order, items: [tea, cup, { ...tea, sku: "TEA-1" }] });
    assert.equal(normal.placed_at, "2026-03-01T08:00:00.000Z");
    assert.deepEqual(normal.customer, { name: "Ada Lovelace", email: "ada@example.com", country: "GB" });
    assert.deepEqual(normal.items, [
        { ...tea, sku: "CUP", name: "cup", quantity: 1 },
        { ...tea, sku: "TEA-1", quantity: 4 },
    ]);
});

test("an article at two prices stays two lines", async () => {
    const { items } = await attempt(handler, { ...order, items: [tea, { ...tea, price_cents: 400 }] });
    assert.equal(items.length, 2);
});

test("totals are in whole cents", async () => {
    const cup = { ...tea, sku: "cup", price_cents: 1200, quantity: 1, tax_percent: 19 };
    const given = { ...order, items: [tea, cup], discount_percent: 10, shipping_cents: 490 };
    assert.deepEqual((await attempt(handler, given)).totals, {
        articles: 3,
        items_cents: 2100,
        discount_cents: 210,
        shipping_cents: 490,
        tax_cents: 225,
        total_cents: 2380,
    });
});

test("what is missing has its default", async () => {
    const { tax_percent, ...untaxed } = tea;
    const { discount_percent, shipping_cents, items, totals } = await attempt(handler, { ...order, items: [untaxed] });
    assert.deepEqual([discount_percent, shipping_cents, items[0].tax_percent], [0, 0, 0]);
    assert.deepEqual([totals.tax_cents, totals.total_cents], [0, 900]);
});

test("all that is wrong with an order is told at once", async () => {
    const items = [{ ...tea, quantity: 0, colour: 1 }];
    const wrong = { ...order, placed_at: "yesterday", customer: { name: "Ada" }, items };
    const violations = [
        '/placed_at must match format "date-time"',
        "/customer must have required property 'email'",
        "/items/0 must NOT have additional properties: colour",
        "/items/0/quantity must be >= 1",
    ];
    await assert.rejects(attempt(handler, wrong), new Permanent(`not an order: ${violations.join("; ")}`));
    await assert.rejects(attempt(handler, null), new Permanent("not an order: / must be object"));
});

test("the operator says which currencies are accepted", async () => {
    const config = { currencies: "EUR CHF" };
    assert.equal((await attempt(handler, { ...order, currency: "CHF" }, { config })).currency, "CHF");
    const refused = new Permanent("not an order: /currency must be one of EUR, CHF");
    await assert.rejects(attempt(handler, { ...order, currency: "USD" }, { config }), refused);
});
