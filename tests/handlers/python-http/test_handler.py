"""Outside Wasm the same clients connect by themselves: `python3 -m unittest`."""

import asyncio
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

import kiln
from handler import CLIENTS, handle


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"tea")

    def log_message(self, *_: object) -> None: ...


class Clients(unittest.TestCase):
    def setUp(self) -> None:
        server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        self.addCleanup(server.server_close)
        self.addCleanup(serving.join)
        self.addCleanup(server.shutdown)

    def get(self, client: str, path: str) -> dict:
        return asyncio.run(handle({"client": client, "method": "GET", "url": self.url + path, "check": True}))

    def test_every_client_gets_its_answer(self) -> None:
        for client in CLIENTS:
            with self.subTest(client):
                self.assertEqual(self.get(client, "/tea")["body"], "tea")
                with self.assertRaisesRegex(kiln.Permanent, "^http status 404"):
                    self.get(client, "/none")


if __name__ == "__main__":
    unittest.main()
