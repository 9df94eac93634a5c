"""Outside Wasm the same clients connect by themselves: `python3 -m unittest`."""

import asyncio
import socketserver
import threading
import unittest

from handler import handle


class Greeting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 tea\n")
        self.wfile.write(self.rfile.readline())


class Clients(unittest.TestCase):
    def test_the_server_may_speak_first(self) -> None:
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            host, port = server.server_address
            for client in ("socket", "asyncio"):
                job = {"do": "greet", "client": client, "host": host, "port": port, "text": "milk"}
                with self.subTest(client):
                    self.assertEqual(asyncio.run(handle(job)), {"greeting": "220 tea", "answer": "milk"})
            server.shutdown()


if __name__ == "__main__":
    unittest.main()
