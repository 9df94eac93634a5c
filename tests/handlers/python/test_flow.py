"""Tests how the kit enqueues jobs outside Wasm, where a test sees them."""

import unittest
from datetime import UTC, datetime, timedelta

import kiln
from kiln import flow


class Flow(unittest.TestCase):
    def setUp(self) -> None:
        flow.enqueued.clear()

    def test_a_test_sees_what_was_enqueued(self) -> None:
        self.assertEqual(flow.enqueue("a", {"n": 1}), "follow-up-1")
        at = datetime(2026, 1, 1, tzinfo=UTC)
        flow.enqueue("b", kiln.Raw("[1.0]"), queue="q", delay=timedelta(minutes=5), timeout=2.5, expires="1h")
        flow.enqueue("c", at=at)
        options = {"queue": "q", "delay": "300000ms", "timeout": "2500ms", "expires": "1h"}
        wanted = [("a", {"n": 1}, {}), ("b", [1.0], options), ("c", None, {"at": "2026-01-01T00:00:00+00:00"})]
        found = [(job["name"], job["payload"], job["options"]) for job in flow.enqueued]
        self.assertEqual(found, wanted)

    def test_what_json_cannot_have_and_a_time_without_a_zone_are_refused(self) -> None:
        for wrong in ({"payload": object()}, {"at": datetime(2026, 1, 1)}):
            with self.assertRaisesRegex(kiln.Permanent, "^enqueue: "):
                flow.enqueue("a", **wrong)
        self.assertEqual(flow.enqueued, [])
