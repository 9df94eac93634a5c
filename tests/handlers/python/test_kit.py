"""Tests the kit as plain Python: `python3 -m unittest`."""

import asyncio
import email.message
import json
import logging
import socket
import unittest
import urllib.error
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import IncompleteRead
from types import SimpleNamespace
from typing import Any, Literal, Optional, Union

import kiln
from kiln import host


@dataclass
class Item:
    name: str
    quantity: int
    price: float = 1.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Order:
    items: list[Item]
    sender: str = field(default="", metadata={"key": "from"})
    note: Optional[str] = None
    rank: Literal["low", "high", 1] = "low"
    extra: dict[str, Union[int, str]] = field(default_factory=dict)
    parent: "Order | None" = None

    def __post_init__(self) -> None:
        if self.note == "":
            raise ValueError("a note is not empty")


def attempt(handle: Any, payload: Any, **job: Any) -> Any:
    """What comes of a payload, as a value."""
    kiln.handler(handle)
    text = payload if isinstance(payload, kiln.Raw) else json.dumps(payload)
    result = kiln.attempt(kiln.Job(payload=text, **job))
    return None if result is None else json.loads(result)


def why(kind: Any, value: Any) -> str:
    try:
        kiln.convert(value, kind)
    except kiln.Permanent as failure:
        return str(failure).removeprefix("payload: ")
    return "it fits"


class Payloads(unittest.TestCase):
    def test_a_dataclass_is_made_of_what_is_there(self) -> None:
        payload = {"items": [{"name": "tea", "quantity": 2, "price": 3}], "from": "Ada", "unknown": 1}
        order = kiln.convert(payload, Order)
        self.assertEqual(order, Order([Item("tea", 2, 3.0)], sender="Ada"))
        self.assertIs(type(order.items[0].price), float)

    def test_a_type_may_hold_itself(self) -> None:
        order = kiln.convert({"items": [], "parent": {"items": [], "from": "Eve"}}, Order)
        self.assertEqual(order.parent.sender, "Eve")
        self.assertEqual(why(Order, {"items": [], "parent": {"items": 1}}), "parent.items: expected a list, got int")

    def test_what_does_not_fit_is_named(self) -> None:
        item = {"name": "tea", "quantity": 1}
        for payload, expected in [
            ([], "expected an object, got a list"),
            ({}, "items: missing"),
            ({"items": None}, "items: expected a list, got null"),
            ({"items": [item, {"name": "cup"}]}, "items[1].quantity: missing"),
            ({"items": [item | {"quantity": "1"}]}, "items[0].quantity: expected int, got str"),
            ({"items": [item | {"quantity": True}]}, "items[0].quantity: expected int, got bool"),
            ({"items": [item | {"quantity": 1.0}]}, "items[0].quantity: expected int, got float"),
            ({"items": [item | {"price": "1"}]}, "items[0].price: expected float, got str"),
            ({"items": [item | {"price": 10**400}]}, "items[0].price: too large for a float"),
            ({"items": [item | {"tags": [1]}]}, "items[0].tags[0]: expected str, got int"),
            ({"items": [], "from": 1}, "from: expected str, got int"),
            ({"items": [], "note": 1}, "note: expected str, got int"),
            ({"items": [], "note": ""}, "a note is not empty"),
            ({"items": [], "rank": True}, 'rank: expected "low" or "high" or 1, got true'),
            ({"items": [], "extra": {"a": None}}, "extra.a: expected int or str, got null"),
            ({"items": [], "extra": {"a": {}}}, "extra.a: expected int or str, got an object"),
        ]:
            with self.subTest(expected):
                self.assertEqual(why(Order, payload), expected)

    def test_objects_and_lists_can_be_had_as_they_are(self) -> None:
        self.assertEqual(kiln.convert({"a": [1]}, dict), {"a": [1]})
        self.assertEqual(why(dict, []), "expected an object, got a list")
        self.assertEqual(why(Optional[list], {}), "expected a list, got an object")

    def test_without_an_annotation_any_json_fits(self) -> None:
        for payload in None, 1, [], {"a": [None]}:
            self.assertEqual(attempt(lambda payload: [payload], payload), [payload])

    def test_the_json_text_can_be_had_as_it_came(self) -> None:
        def handle(payload: kiln.Raw) -> kiln.Raw:
            return payload

        kiln.handler(handle)
        text = '{ "n": 1.50, "n": 12345678901234567890, "s": "\\ud800" }'
        self.assertEqual(kiln.attempt(kiln.Job(payload=text)), text)

    def test_python_has_limits_of_its_own(self) -> None:
        for text, expected in [("[" * 100_000 + "]" * 100_000, "nested more than 128 levels deep"), ("1" * 5000, "Exceeds the limit")]:
            with self.assertRaisesRegex(kiln.Permanent, f"^payload: {expected}"):
                attempt(lambda payload: None, kiln.Raw(text))

    def test_a_handler_is_checked_when_it_is_marked(self) -> None:
        def wrong_type(payload: set[int]) -> None: ...
        def raw_within(payload: list[kiln.Raw]) -> None: ...
        def no_parameter() -> None: ...
        def three_parameters(payload: Any, job: kiln.Job, more: Any) -> None: ...

        for handle in wrong_type, raw_within, no_parameter, three_parameters:
            with self.subTest(handle.__name__), self.assertRaises(TypeError):
                kiln.handler(handle)


class Results(unittest.TestCase):
    def test_dataclasses_are_written_at_any_depth(self) -> None:
        result = attempt(lambda payload: {"order": Order([Item("tea", 1)], sender="Ada")}, None)
        self.assertEqual(result["order"]["from"], "Ada")
        self.assertEqual(result["order"]["items"], [{"name": "tea", "quantity": 1, "price": 1.0, "tags": []}])

    def test_a_handler_may_be_async(self) -> None:
        async def handle(payload: Any) -> dict:
            await asyncio.sleep(0)
            return {"got": payload}

        self.assertEqual(attempt(handle, 1), {"got": 1})

    def test_none_is_no_result(self) -> None:
        self.assertIsNone(attempt(lambda payload: None, 1))

    def test_text_stays_readable_as_far_as_it_can_be_encoded(self) -> None:
        for value, text in [("é😀", '"é😀"'), ("\ud800é", '"\\ud800\\u00e9"')]:
            kiln.handler(lambda payload: value)
            self.assertEqual(kiln.attempt(kiln.Job()), text)

    def test_a_result_that_is_no_json_fails_for_good(self) -> None:
        for value in ({1}, float("nan"), Item):
            with self.assertRaisesRegex(kiln.Permanent, "^result: "):
                attempt(lambda payload: value, None)


class Failures(unittest.TestCase):
    def test_after_is_seconds_or_a_timedelta(self) -> None:
        for after, ms in [
            (None, None),
            (1.5, 1500),
            (1.1, 1100),
            (0.0011, 2),
            (timedelta(minutes=1), 60_000),
            (-1, 0),
            (float("inf"), 2**63),
        ]:
            self.assertEqual(kiln.Retry("later", after=after).after_ms, ms)

    def test_other_exceptions_pass_through(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            attempt(lambda payload: 1 // payload, 0)


class Requests(unittest.TestCase):
    """What the exceptions of urllib and its likes make of an attempt; clients.rs has those of other libraries."""

    def outcome(self, error: Exception) -> Exception:
        def handle(payload: Any) -> None:
            raise error

        with self.assertRaises((kiln.Retry, kiln.Permanent)) as raised:
            attempt(handle, None)
        self.assertIs(raised.exception.__cause__, error)
        return raised.exception

    def test_a_request_that_failed_is_tried_again(self) -> None:
        for error in (
            ConnectionResetError("gone"),
            TimeoutError("late"),
            socket.gaierror(-2, "unknown"),
            urllib.error.URLError("refused"),
            IncompleteRead(b"", 1),
        ):
            self.assertIsInstance(self.outcome(error), kiln.Retry, error)

    def test_what_was_raised_from_such_an_exception_is_like_it(self) -> None:
        wrapped = RuntimeError("no tea")
        wrapped.__cause__ = TimeoutError("late")
        self.assertEqual(str(self.outcome(wrapped)), "TimeoutError: late")

    def test_other_failures_of_the_system_are_crashes(self) -> None:
        def handle(payload: Any) -> None:
            raise FileNotFoundError("no tea")

        with self.assertRaises(FileNotFoundError):
            attempt(handle, None)

    def test_an_error_status_says_what_becomes_of_the_job(self) -> None:
        headers = email.message.Message()
        headers["Retry-After"] = "7"
        for status, kind, after_ms in [(503, kiln.Retry, 7000), (500, kiln.Retry, None), (404, kiln.Permanent, None)]:
            error = urllib.error.HTTPError("http://a.example/", status, "no", headers, None)
            failure = self.outcome(error)
            self.assertIs(type(failure), kind)
            self.assertEqual(getattr(failure, "after_ms", None), after_ms)
            response = SimpleNamespace(status_code=status, headers=headers, url="http://a.example/")
            with self.assertRaises(kind):
                kiln.check_status(response)
        self.assertEqual(kiln.check_status(SimpleNamespace(status=302, headers={})).status, 302)

    def test_what_is_told_of_a_request_names_its_server_and_no_more(self) -> None:
        for url in "https://ada:secret@a.example:8443/secret", "https://a.example:8443?secret#secret":
            with self.assertRaisesRegex(kiln.Permanent, "^http status 404: https://a.example:8443$"):
                kiln.check_status(SimpleNamespace(status=404, headers={}, url=url))
        refused = "HTTPConnectionPool(host='a.example', port=80): Max retries exceeded with url: /?secret (Caused by …)"
        told = self.outcome(ConnectionError(refused))
        self.assertNotIn("secret", str(told))
        self.assertIn("a.example", str(told))


class OutsideWasm(unittest.TestCase):
    def test_the_host_has_a_stand_in(self) -> None:
        self.assertEqual((kiln.remaining_seconds(), kiln.is_cancelled(), kiln.config("key")), (30, False, None))

    def test_progress_is_logged(self) -> None:
        with self.assertLogs("kiln", logging.DEBUG) as logs:
            kiln.progress(250, "done")
        self.assertEqual(logs.records[0].getMessage(), "progress 100 %: done")

    def test_halves_of_surrogate_pairs_are_escaped(self) -> None:
        self.assertEqual(host.utf8("é\ud800"), "é\\ud800")


if __name__ == "__main__":
    unittest.main()
