"""A small crawler: the pages of one site that can be reached from one of them, each asked for once."""

import asyncio
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx
import kiln


class Page(HTMLParser):
    """A page's title, and where its links lead."""

    def __init__(self, url: str, html: str) -> None:
        super().__init__()
        self.url, self.title, self.links = url, "", []
        self.in_title = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_title = tag == "title"
        if tag == "a" and (href := dict(attrs).get("href")):
            self.links.append(urldefrag(urljoin(self.url, href)).url)

    def handle_endtag(self, tag: str) -> None:
        self.in_title = False

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title += data.strip()


class Crawl:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.pages: dict[str, str] = {}
        self.gone: list[str] = []

    async def visit(self, url: str) -> list[str]:
        """Notes what is there, and returns where it leads."""
        response = await self.client.get(url)
        if response.has_redirect_location:
            return [urldefrag(urljoin(url, response.headers["location"])).url]
        if response.status_code in (404, 410):
            self.gone.append(urlsplit(url).path)
            return []
        kiln.check_status(response)
        if not response.headers.get("content-type", "").startswith("text/html"):
            return []
        page = Page(url, response.text)
        self.pages[urlsplit(url).path] = page.title
        return page.links


async def crawl(url: str, most: int, everywhere: bool) -> dict:
    """Follows links within the site, or all of them, until it has asked so often."""
    home = urlsplit(url).netloc
    seen, outside, next_ones = {url}, set(), [url]
    asked = 0
    # A redirect is followed as a link is: one that leads away is seen before it is taken.
    async with httpx.AsyncClient(follow_redirects=False) as client:
        crawl = Crawl(client)
        while next_ones and asked < most:
            now, later = next_ones[: most - asked], next_ones[most - asked :]
            asked += len(now)
            found = await asyncio.gather(*(crawl.visit(url) for url in now))
            next_ones = later
            for link in sorted(set().union(*found) - seen):
                parts = urlsplit(link)
                if parts.scheme not in ("http", "https"):
                    continue
                seen.add(link)
                if everywhere or parts.netloc == home:
                    next_ones.append(link)
                else:
                    outside.add(link)
    return {
        "pages": dict(sorted(crawl.pages.items())),
        "gone": sorted(crawl.gone),
        "outside": sorted(outside),
        "left": len(next_ones),
    }
