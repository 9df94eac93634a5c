"""The answer of a language model as its users read it: server-sent events that come while it is being made."""

import json
import urllib.request

import httpx
import kiln

PATH = "/v1/chat/completions"


def asked(question: str) -> dict:
    return {"model": "tea", "stream": True, "messages": [{"role": "user", "content": question}]}


class Answer:
    def __init__(self) -> None:
        self.text = ""
        self.pieces = 0

    def ends_with(self, line: str) -> bool:
        """Takes the next line of the stream, and says whether the answer is whole."""
        if not line.startswith("data: "):
            return False
        data = line.removeprefix("data: ").rstrip()
        if data == "[DONE]":
            return True
        self.text += json.loads(data)["choices"][0]["delta"].get("content", "")
        self.pieces += 1
        kiln.progress(min(self.pieces, 99), f"{len(self.text)} characters")
        return False


async def with_httpx(url: str, question: str) -> dict:
    answer = Answer()
    async with httpx.AsyncClient() as client, client.stream("POST", url + PATH, json=asked(question)) as response:
        kiln.check_status(response)
        async for line in response.aiter_lines():
            if answer.ends_with(line):
                return answer.__dict__
    raise kiln.Retry("the answer broke off")


def with_urllib(url: str, question: str) -> dict:
    answer = Answer()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url + PATH, json.dumps(asked(question)).encode(), headers)
    with urllib.request.urlopen(request) as response:
        for line in response:
            if answer.ends_with(line.decode()):
                return answer.__dict__
    raise kiln.Retry("the answer broke off")
