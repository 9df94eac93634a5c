// Checks an order against its JSON Schema, puts it into its normal form and totals it.

import { Ajv, type ErrorObject } from "ajv";
import formats from "ajv-formats";

import { config, handle, log, Permanent } from "./kiln/index.js";
import schema from "./order.schema.json";

/** An order as `order.schema.json` has it, with its defaults filled in. Prices contain their tax. */
interface Order {
    id: string;
    placed_at: string;
    customer: { name: string; email: string; country?: string };
    currency: string;
    items: Item[];
    discount_percent: number;
    shipping_cents: number;
}

interface Item {
    sku: string;
    name: string;
    price_cents: number;
    quantity: number;
    tax_percent: number;
}

const ajv = new Ajv({ allErrors: true, useDefaults: true });
formats(ajv, ["date-time", "email"]);
// Done while the component is built: every attempt starts with the compiled validator.
const isOrder = ajv.compile<Order>(schema);

export const handler = handle((order: Order) => ({ ...normal(order), totals: totals(order) }), { payload: check });

/** Takes a payload for an order, or fails for good with everything that is wrong with it. */
function check(payload: unknown): Order {
    if (!isOrder(payload)) throw invalid(isOrder.errors?.map(describe) ?? []);
    const accepted = config("currencies")?.split(" ");
    if (accepted && !accepted.includes(payload.currency)) {
        throw invalid([`/currency must be one of ${accepted.join(", ")}`]);
    }
    return payload;
}

function invalid(violations: string[]): Permanent {
    log.info(`refused with ${violations.length} violations`);
    return new Permanent(`not an order: ${violations.join("; ")}`);
}

function describe({ instancePath, message, params }: ErrorObject): string {
    const extra = "additionalProperty" in params ? `: ${params.additionalProperty}` : "";
    return `${instancePath || "/"} ${message}${extra}`;
}

/** One form for what means the same: instants in UTC, one line for each article at a price, one spelling of codes. */
function normal(order: Order): Order {
    const { customer } = order;
    return {
        ...order,
        placed_at: new Date(order.placed_at).toISOString(),
        customer: {
            name: customer.name.trim().replace(/\s+/g, " "),
            email: customer.email.toLowerCase(),
            ...(customer.country && { country: customer.country.toUpperCase() }),
        },
        items: merge(order.items),
    };
}

function merge(items: Item[]): Item[] {
    const merged = new Map<string, Item>();
    for (const item of items) {
        const sku = item.sku.toUpperCase();
        const key = `${sku} ${item.price_cents} ${item.tax_percent}`;
        const quantity = (merged.get(key)?.quantity ?? 0) + item.quantity;
        merged.set(key, { ...item, sku, name: item.name.trim(), quantity });
    }
    return [...merged.values()].sort((a, b) => (a.sku < b.sku ? -1 : Number(a.sku > b.sku)));
}

/** All in cents, each rounded once; the tax is what the total contains, shipping left out. */
function totals(order: Order) {
    const gross = (item: Item) => item.price_cents * item.quantity;
    const items_cents = sum(order.items.map(gross));
    const discount_cents = Math.round((items_cents * order.discount_percent) / 100);
    const share = 1 - order.discount_percent / 100;
    const tax_cents = Math.round(
        sum(order.items.map((item) => (gross(item) * share * item.tax_percent) / (100 + item.tax_percent))),
    );
    return {
        articles: sum(order.items.map((item) => item.quantity)),
        items_cents,
        discount_cents,
        shipping_cents: order.shipping_cents,
        tax_cents,
        total_cents: items_cents - discount_cents + order.shipping_cents,
    };
}

function sum(numbers: number[]): number {
    return numbers.reduce((total, number) => total + number, 0);
}
