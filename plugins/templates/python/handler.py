"""Digests an order of a web shop: what its items cost in all, in how many lines."""

import logging
from dataclasses import dataclass

import kiln

log = logging.getLogger(__name__)


@dataclass
class Item:
    name: str
    price_cents: int
    quantity: int
    stock: str | None = None


@dataclass
class Order:
    customer: str
    items: list[Item]
    express: bool = False


@dataclass
class Digest:
    customer: str
    total_cents: int
    lines: int


@kiln.handler
def handle(order: Order, job: kiln.Job) -> Digest:
    if not order.items:
        # The same order is no better the next time.
        raise kiln.Permanent("an order has at least one item")
    log.info("totalling %d items for %s", len(order.items), order.customer)
    total_cents = 0
    for done, item in enumerate(order.items, start=1):
        total_cents += price(item)
        kiln.progress(100 * done // len(order.items), item.name)
    return Digest(order.customer, total_cents, lines=len(order.items))


# An HTTP request, once {{name}}.toml grants its origin; `import urllib.request` above. If it fails, the job is tried again.
#
# def stock(name: str) -> str:
#     with urllib.request.urlopen(f"https://api.example.com/stock/{name}", timeout=5) as response:
#         return response.read().decode()


def price(item: Item) -> int:
    if item.stock == "unknown":
        raise kiln.Retry(f"the stock of {item.name} is not known yet", after=30)
    if item.quantity <= 0:
        raise kiln.Permanent(f"the quantity of {item.name} is not positive")
    if item.price_cents < 0:
        raise kiln.Permanent(f"the price of {item.name} is negative")
    return item.price_cents * item.quantity
