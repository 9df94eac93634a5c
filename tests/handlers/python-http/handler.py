"""Makes HTTP requests with the client that its payload names; clients.rs says what else the payload may hold.

What a client raises is left to the kit.
"""

import asyncio
import http.client
import urllib.request
from collections.abc import AsyncIterator, Iterator
from urllib.error import HTTPError
from urllib.parse import urlsplit

import aiohttp
import chat
import httpx
import kiln
import requests
from crawl import crawl

PIECE = 50_000
"""Bytes of a repeated body that are written at once."""


@kiln.handler
async def handle(job: dict) -> object:
    match job:
        case {"do": "gather", "urls": urls}:
            return await gather(urls)
        case {"do": "patience"}:
            return await patience()
        case {"do": "meanwhile"}:
            return await meanwhile(job)
        case {"do": "linger", "url": url, "leave": leave}:
            return linger(url, leave)
        case {"do": "chat", "client": "httpx.AsyncClient", "url": url, "question": question}:
            return await chat.with_httpx(url, question)
        case {"do": "chat", "url": url, "question": question}:
            return chat.with_urllib(url, question)
        case {"do": "crawl", "url": url, "most": most, "everywhere": everywhere}:
            return await crawl(url, most, everywhere)
        case {"catch": True}:
            try:
                await with_client(job)
            except Exception as error:  # noqa: BLE001
                return {"raised": f"{type(error).__module__}.{type(error).__qualname__}", "why": str(error)}
        case {"client": _}:
            return await with_client(job)
    raise kiln.Permanent(f"unknown: {job}")


left: list[http.client.HTTPConnection] = []
"""What an attempt left open for the next one in the same instance."""


def linger(url: str, leave: bool) -> str:
    """Begins a request, closes what was left open before, and leaves this one, too, or reads its answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/")
    response = connection.getresponse()
    while left:
        left.pop().close()
    if not leave:
        return response.read().decode()
    left.append(connection)
    return "left"


async def with_client(job: dict) -> object:
    done = CLIENTS[job["client"]](job)
    return await done if asyncio.iscoroutine(done) else done


async def gather(urls: list[str]) -> list[str]:
    async with httpx.AsyncClient() as client:
        responses = await asyncio.gather(*(client.get(url) for url in urls))
    return [response.text for response in responses]


async def meanwhile(job: dict) -> list[str]:
    """Uploads what the server takes only once something else was asked of it."""
    body = {"method": "POST", "url": f"{job['url']}/upload", "body": "x", "repeat": job["size"]}
    upload = asyncio.create_task(with_client({**job, **body}))
    await asyncio.sleep(0.005)
    other = await with_client({**job, "url": f"{job['url']}/other"})
    return [(await upload)["body"], other["body"]]


async def patience() -> dict:
    """What asyncio has to do with time."""
    order: list[str] = []

    async def later(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    await asyncio.gather(later("second", 0.02), later("first", 0.01))
    try:
        await asyncio.wait_for(asyncio.sleep(60), timeout=0.01)
    except TimeoutError:
        order.append("timeout")
    order.append(await asyncio.to_thread(lambda: "called"))
    return {"order": order}


def body(job: dict) -> bytes | Iterator[bytes] | None:
    """What is sent; a repeated one piece by piece."""
    if "body" not in job:
        return None
    text = job["body"].encode()
    return pieces(text * job["repeat"]) if "repeat" in job else text


def pieces(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


def body_async(job: dict) -> bytes | AsyncIterator[bytes] | None:
    async def pieces_async(text: bytes) -> AsyncIterator[bytes]:
        for piece in pieces(text):
            yield piece

    return pieces_async(job["body"].encode() * job["repeat"]) if "repeat" in job else body(job)


def timeout(job: dict) -> float:
    return job.get("timeout_ms", 20_000) / 1000


class Sum:
    """Of the bytes of a body that comes in pieces."""

    def __init__(self) -> None:
        self.bytes = self.sum = 0

    def add(self, piece: bytes) -> bool:
        """Whether it is the first one."""
        self.bytes += len(piece)
        self.sum += sum(piece)
        return self.bytes == len(piece)


def with_urllib(job: dict) -> object:
    request = urllib.request.Request(job["url"], body(job), dict(job.get("headers", [])), method=job["method"])
    try:
        response = urllib.request.urlopen(request, timeout=timeout(job))
    except HTTPError as error:
        if "check" in job:
            kiln.check_status(error)
        raise
    with response:
        if "add_up" in job:
            total = Sum()
            while piece := response.read1(PIECE):
                if total.add(piece) and "then" in job:
                    urllib.request.urlopen(job["then"]).read()
            return total.__dict__
        text = response.read().decode()
        return {"status": response.status, "headers": response.getheaders(), "body": text}


def with_http_client(job: dict) -> object:
    url = urlsplit(job["url"])
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=timeout(job))
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection.request(job["method"], path, body(job), dict(job.get("headers", [])))
    response = connection.getresponse()
    if "check" in job:
        kiln.check_status(response)
    if "add_up" in job:
        total = Sum()
        while piece := response.read1(PIECE):
            if total.add(piece) and "then" in job:
                other = http.client.HTTPConnection(url.netloc)
                other.request("GET", urlsplit(job["then"]).path)
                other.getresponse().read()
        return total.__dict__
    return {"status": response.status, "headers": response.getheaders(), "body": response.read().decode()}


def with_requests(job: dict) -> object:
    with requests.Session() as session:
        response = session.request(
            job["method"],
            job["url"],
            data=body(job),
            headers=dict(job.get("headers", [])),
            timeout=timeout(job),
            stream="add_up" in job,
        )
        if "check" in job:
            kiln.check_status(response)
        if "add_up" in job:
            total = Sum()
            for piece in response.iter_content(chunk_size=None):
                if total.add(piece) and "then" in job:
                    session.get(job["then"])
            return total.__dict__
        return {"status": response.status_code, "headers": list(response.headers.items()), "body": response.text}


def with_httpx(job: dict) -> object:
    with httpx.Client(timeout=timeout(job), follow_redirects=True) as client:
        request = client.build_request(
            job["method"], job["url"], content=body(job), headers=dict(job.get("headers", []))
        )
        response = client.send(request, stream="add_up" in job)
        if "check" in job:
            kiln.check_status(response)
        if "add_up" in job:
            total = Sum()
            for piece in response.iter_bytes():
                if total.add(piece) and "then" in job:
                    client.get(job["then"])
            return total.__dict__
        return {"status": response.status_code, "headers": response.headers.multi_items(), "body": response.text}


async def with_async_client(job: dict) -> object:
    async with httpx.AsyncClient(timeout=timeout(job), follow_redirects=True) as client:
        request = client.build_request(
            job["method"], job["url"], content=body_async(job), headers=dict(job.get("headers", []))
        )
        response = await client.send(request, stream="add_up" in job)
        if "check" in job:
            kiln.check_status(response)
        if "add_up" in job:
            total = Sum()
            async for piece in response.aiter_bytes():
                if total.add(piece) and "then" in job:
                    await client.get(job["then"])
            return total.__dict__
        return {"status": response.status_code, "headers": response.headers.multi_items(), "body": response.text}


async def with_aiohttp(job: dict) -> object:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout(job))) as session,
        session.request(
            job["method"], job["url"], data=body_async(job), headers=dict(job.get("headers", []))
        ) as response,
    ):
        if "check" in job:
            kiln.check_status(response)
        if "add_up" in job:
            total = Sum()
            async for piece in response.content.iter_any():
                if total.add(piece) and "then" in job:
                    await (await session.get(job["then"])).read()
            return total.__dict__
        return {"status": response.status, "headers": list(response.headers.items()), "body": await response.text()}


CLIENTS = {
    "aiohttp": with_aiohttp,
    "http.client": with_http_client,
    "httpx.AsyncClient": with_async_client,
    "httpx.Client": with_httpx,
    "requests": with_requests,
    "urllib.request": with_urllib,
}
