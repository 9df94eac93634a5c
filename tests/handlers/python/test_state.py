"""Tests the kit's state as it is kept outside Wasm, in memory."""

import asyncio
import json
import unittest
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest import mock

import kiln
from kiln import state, state_memory


@dataclass
class Receipt:
    number: int
    note: str = "☕"


class Values(unittest.TestCase):
    def setUp(self) -> None:
        state_memory._kept.clear()
        self.things = state.bucket("things")

    def fails(self, act: Any, why: str, *args: Any, **named: Any) -> None:
        with self.assertRaisesRegex(kiln.Permanent, f"^state: {why}"):
            act(*args, **named)

    def test_values_are_kept_by_bucket_and_key(self) -> None:
        things = self.things
        things.set("b", 7)
        self.assertEqual((state.bucket("other").get("b"), state.bucket("other").get("b", 1)), (None, 1))
        value, version = things.get_versioned("b")
        self.assertEqual(value, 7)
        self.assertGreater(things.swap("b", version, None), version)
        self.assertIsNone(things.swap("b", version, 9))
        self.assertFalse(things.set_if_absent("b", 1))
        self.assertEqual((things.get("b", "none"), things.add("a", 40), things.add("a", 2)), (None, 40, 42))
        things.set_on_completion("c", "\ud800é")
        self.assertEqual(things.get("c"), "\ud800é")
        self.assertEqual((things.keys(), things.keys(after="b")), (["a", "b", "c"], ["c"]))
        things.delete("b")
        self.assertIsNone(things.get_versioned("b"))
        things.set("b", 8)
        self.assertIsNone(things.swap("b", version + 1, 9), "no version comes twice")

    def test_a_sum_has_64_bits(self) -> None:
        for first, more in [(2**63 - 2, 1), (1 - 2**63, -1)]:
            self.things.set("n", first)
            self.assertEqual(self.things.add("n", more), first + more)
            with self.assertRaises(kiln.Retry) as raised:
                self.things.add("n", more)
            self.assertEqual(raised.exception.kind, state_memory.ErrorKind.NOT_A_NUMBER)
        for value in 1.0, "1", True, None:
            self.things.set("n", value)
            with self.assertRaises(kiln.Retry):
                self.things.add("n")

    def test_what_json_cannot_have_or_a_value_that_is_none_fails_for_good(self) -> None:
        cycle: list = []
        cycle.append(cycle)
        deep: list = []
        for _ in range(100_000):
            deep = [deep]
        for value in (float("nan"), {1}, cycle, deep, Receipt):
            self.fails(self.things.set, "the value of 'k': ", "k", value)
        for kept in (b"{", b'"\xff"', b"[" * 200 + b"]" * 200, b"\xff\xfe1\x00"):
            state_memory._kept["things", "k"] = state_memory.Entry(kept, 1)
            self.fails(self.things.get, "the value of 'k': ", "k")

    def test_a_value_is_what_a_result_may_be(self) -> None:
        for value, kept in [(Receipt(1), {"number": 1, "note": "☕"}), (kiln.Raw("[1.50]"), [1.5])]:
            self.things.set("k", value)
            self.assertEqual(self.things.get("k"), kept)

    def test_a_time_is_rounded_up_and_0_is_none_and_less_is_refused(self) -> None:
        with mock.patch.object(state_memory, "write", wraps=state_memory.write) as write:
            for ttl, ms in [
                (None, None),
                (0, None),
                (timedelta(), None),
                (1.1, 1100),
                (0.0011, 2),
                (1e-9, 1),
                (timedelta(microseconds=1001), 2),
                (float("inf"), 2**63),
            ]:
                self.things.set("k", 1, ttl=ttl)
                self.assertEqual(write.call_args.args[1][0].ttl_ms, ms, ttl)
        for ttl in (-1, float("nan"), timedelta(seconds=-1)):
            self.fails(self.things.set, "a value cannot last for ", "k", 1, ttl=ttl)


class Once(unittest.TestCase):
    def setUp(self) -> None:
        state_memory._kept.clear()
        self.calls = 0

    def charge(self, key: str, result: Any) -> Any:
        def work() -> Any:
            self.calls += 1
            if isinstance(result, Exception):
                raise result
            return result

        return state.once("charges", key, work)

    def test_what_was_done_is_not_done_again_and_what_failed_is(self) -> None:
        with self.assertRaisesRegex(kiln.Retry, "^declined$"):
            self.charge("1", kiln.Retry("declined"))
        for result, kept in [(Receipt(1), {"number": 1, "note": "☕"}), (None, None), ((1,), [1])]:
            key = repr(result)
            self.assertEqual([self.charge(key, result), self.charge(key, "other")], [kept, kept])
        self.assertEqual(self.calls, 4)
        self.assertEqual(json.loads(state_memory._kept["charges", "None"].value), {"done": None})

    def test_a_result_that_is_no_json_frees_the_key(self) -> None:
        deep: list = []
        for _ in range(200):
            deep = [deep]
        for result in ({1}, float("inf"), deep):
            with self.assertRaisesRegex(kiln.Permanent, "^state: the value of '1': "):
                self.charge("1", result)
        self.assertEqual(self.charge("1", 1), 1)

    def test_an_async_function_is_done_once_and_nothing_else_may_have_to_be_awaited(self) -> None:
        async def work() -> str:
            await asyncio.sleep(0)
            self.calls += 1
            return "done"

        async def twice() -> list:
            return [await state.once("charges", "1", work), await state.once("charges", "1", work)]

        self.assertEqual(asyncio.run(twice()), ["done", "done"])
        self.assertEqual(self.calls, 1)
        with self.assertRaisesRegex(TypeError, "the `async` function itself"):
            state.once("charges", "2", lambda: work())
        self.assertEqual(self.charge("2", 2), 2)

    def test_what_another_attempt_is_at_is_tried_later_and_what_is_not_of_once_never(self) -> None:
        things = state.bucket("charges")
        things.set("k", "under_way")
        with self.assertRaises(kiln.Retry) as raised:
            self.charge("k", 1)
        self.assertEqual(raised.exception.after_ms, 10_000)
        for kept in None, 1, "done", ["done"], {"undone": 1}:
            things.set("k", kept)
            with self.assertRaisesRegex(kiln.Permanent, "^state: the value of 'k': it is not of what is done once$"):
                self.charge("k", 1)
        self.assertEqual(self.calls, 0)

    def test_a_claim_that_cannot_be_deleted_hides_nothing(self) -> None:
        away = state_memory.Err(state_memory.Error(state_memory.ErrorKind.CONFLICT, "away"))

        def declined() -> None:
            with self.subTest("the claim"):
                self.assertEqual(state.bucket("charges").get("1"), "under_way")
            mock.patch.object(state_memory, "write", side_effect=away).start()
            raise ZeroDivisionError

        self.addCleanup(mock.patch.stopall)
        with self.assertRaises(ZeroDivisionError):
            state.once("charges", "1", declined)


if __name__ == "__main__":
    unittest.main()
