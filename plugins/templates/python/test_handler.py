"""Tests the handler as the plain function it is: `python3 -m unittest`, or pytest."""

import json
import unittest

import kiln
from handler import Digest, Item, Order, handle

TEA = Item("tea", price_cents=450, quantity=2)


class DigestOfAnOrder(unittest.TestCase):
    def test_adds_up_what_the_items_cost(self) -> None:
        order = Order("Ada", [TEA, Item("cup", price_cents=800, quantity=1)])
        self.assertEqual(handle(order, kiln.Job()), Digest("Ada", total_cents=1700, lines=2))

    def test_logs_whose_order_it_is(self) -> None:
        with self.assertLogs("handler") as logs:
            handle(Order("Ada", [TEA]), kiln.Job())
        self.assertEqual(logs.records[0].getMessage(), "totalling 1 items for Ada")

    def test_waits_for_the_stock(self) -> None:
        order = Order("Ada", [Item("tea", price_cents=450, quantity=2, stock="unknown")])
        with self.assertRaises(kiln.Retry) as retry:
            handle(order, kiln.Job())
        self.assertEqual(retry.exception.after_ms, 30_000)

    def test_refuses_what_cannot_be_ordered(self) -> None:
        for items in [], [Item("tea", 450, quantity=0)], [Item("tea", -1, quantity=1)]:
            with self.subTest(items=items), self.assertRaises(kiln.Permanent):
                handle(Order("Ada", items), kiln.Job())

    def test_goes_from_json_to_json(self) -> None:
        payload = {"customer": "Ada", "items": [{"name": "tea", "price_cents": 450, "quantity": 2}]}
        result = kiln.attempt(kiln.Job(payload=json.dumps(payload)))
        self.assertEqual(json.loads(result), {"customer": "Ada", "total_cents": 900, "lines": 1})

    def test_says_what_is_wrong_with_a_payload(self) -> None:
        payload = {"customer": "Ada", "items": [{"name": "tea", "price_cents": 450, "quantity": "2"}]}
        with self.assertRaisesRegex(kiln.Permanent, r"^payload: items\[0\]\.quantity: expected int, got str$"):
            kiln.attempt(kiln.Job(payload=json.dumps(payload)))


if __name__ == "__main__":
    unittest.main()
