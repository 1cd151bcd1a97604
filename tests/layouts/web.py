"""A web server on loopback with the moods of real ones: it drops, changes its mind, sends web pages, answers 500."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """A file as it is served. faults: one a request, until they are used up; see `Handler._fault`."""

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    length: bool = True  # whether Content-Length is told
    kind: str = "application/octet-stream"
    faults: list[Any] = field(default_factory=list)


class Site:
    """Pages by path, and the requests that came: (path, headers)."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def put(self, path: str, content: bytes, **moods: Any) -> str:
        """The address of a new page."""
        self.pages[f"/{path}"] = Page(content, **moods)
        return f"{self.url}/{path}"

    @property
    def ranges(self) -> list[str | None]:
        """The Range of each request."""
        return [headers.get("Range") for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.requests.append((self.path, dict(self.headers.items())))
        page = self.site.pages.get(self.path.split("?")[0])
        if page is None:
            self.send_error(404)
            return
        fault = page.faults.pop(0) if page.faults else None
        if isinstance(fault, dict):  # {"status": 503, "Retry-After": "1"}: an answer without a file
            told = {name: value for name, value in fault.items() if name != "status"}
            self._answer(fault["status"], {"Content-Length": "0", **told})
            return
        start = self._start(page)
        body, status, headers = page.content[start:], 200, {"Content-Type": page.kind}
        if start:
            status, shown = 206, 0 if fault == "wrong start" else start
            headers["Content-Range"] = f"bytes {shown}-{len(page.content) - 1}/{len(page.content)}"
        headers |= {name: value for name, value in (("ETag", page.etag), ("Last-Modified", page.modified)) if value}
        if page.length:
            headers["Content-Length"] = str(len(body))
        if start >= len(page.content) > 0:
            self._answer(416, {"Content-Range": f"bytes */{len(page.content)}"})
            return
        self._answer(status, headers)
        self.wfile.write(
            body[:fault] if isinstance(fault, int) else body
        )  # a number: bytes before the connection drops

    def _start(self, page: Page) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, page.etag, page.modified)
        return int(asked[1]) if asked and page.ranges and same else 0

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve() -> Iterator[Site]:
    """A site on a port of its own, closed at the end."""

    class Bound(Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    Bound.site = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Bound.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
