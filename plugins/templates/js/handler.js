// Digests an order of a web shop: what its items cost in all, in how many lines.

import { handle, log, Permanent, progress, Retry } from "./kiln/index.js";
import { array, integer, object, optional, string } from "./kiln/payload.js";

const order = object({
    customer: string,
    items: array(object({ name: string, price_cents: integer, quantity: integer, stock: optional(string) })),
});

export const handler = handle(digest, { payload: order });

function digest({ customer, items }) {
    // The same order is no better the next time.
    if (items.length === 0) throw new Permanent("an order has at least one item");
    log.info(`totalling ${items.length} items for ${customer}`);
    let total_cents = 0;
    for (const [i, item] of items.entries()) {
        total_cents += price(item);
        progress((100 * (i + 1)) / items.length, item.name);
    }
    return { customer, total_cents, lines: items.length };
}

function price({ name, price_cents, quantity, stock }) {
    if (stock === "unknown") throw new Retry(`the stock of ${name} is not known yet`, { afterMs: 30_000 });
    if (quantity <= 0) throw new Permanent(`the quantity of ${name} is not positive`);
    if (price_cents < 0) throw new Permanent(`the price of ${name} is negative`);
    return price_cents * quantity;
}

// To ask an API, grant it in the manifest (`[[grants.http]]`), import `checkStatus`, and have `digest` and `price` be
// `async`:
//
//     const url = new URL(`/stock/${encodeURIComponent(name)}`, "https://api.example.com");
//     const headers = { authorization: `Bearer ${process.env.API_KEY}` };
//     const response = checkStatus(await fetch(url, { headers, signal: AbortSignal.timeout(5_000) }));
//     const { stock } = await response.json();
//
// `checkStatus` throws `Retry` for a server that is busy or broken, and `Permanent` for one that refuses. That a request
// failed or timed out need not be caught: the job is tried again.
