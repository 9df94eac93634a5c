"""Outside Wasm the same packages come to the same: `python3 -m unittest`."""

import unittest

from handler import PACKAGES, handle


class Packages(unittest.TestCase):
    def test_each_does_something(self) -> None:
        for name in PACKAGES:
            with self.subTest(name):
                self.assertIsNotNone(handle({"package": name}))


if __name__ == "__main__":
    unittest.main()
