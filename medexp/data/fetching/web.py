"""One connection to a file on the web: opened at its beginning or where an earlier one was dropped; http and https only."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from medexp import __version__
from medexp.errors import UserError

TIMEOUT = 30.0  # s without a byte
LONGEST_PAUSE = 60.0  # s that a server may ask to wait
CHUNK = 1 << 20  # bytes
AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers that may be better a little later


class Unreachable(UserError):
    """The file cannot be had from its address; somebody may still get it by hand."""


class Dropped(Exception):
    """A connection ended early; another may go on from there. pause: s that the server asks to wait."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Stale(Dropped):
    """What is here already is not a part of what the server now has."""


@dataclass(frozen=True)
class Origin:
    """What a partial file is a part of: the server's marks of one version of a file. length: bytes of the whole."""

    url: str
    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @property
    def mark(self) -> str | None:
        """For If-Range, which takes no weak ETag (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class Stream:
    """The bytes of a file from `start` on."""

    response: Any
    start: int
    origin: Origin

    def chunks(self) -> Iterator[bytes]:
        """Raises Dropped where the connection ends before the file does."""
        held = self.start
        try:
            while chunk := self.response.read(CHUNK):
                held += len(chunk)
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Dropped(reason(error)) from None
        if self.origin.length not in (None, held):  # http.client ends a short body without a word
            raise Dropped(f"connection closed after {held} of {self.origin.length} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https, never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            raise Unreachable(f"{host(req.full_url)} redirects from {old}: to {new}:, which is not followed ({newurl})")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def connect(url: str, have: int, before: Origin | None) -> Iterator[Stream]:
    """The file at `url` from byte `have` on where the server still has the version `before`, else from its beginning.

    Raises Stale (start over), Dropped (try again) and Unreachable (there is no point in it).
    """
    try:
        response = _opener().open(_request(url, have, before), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(url, error, have) from None
    except ValueError as error:
        raise Unreachable(f"{url} is no address ({error})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreached(url, error, have) from None
    with response:
        start = _start(response, have, before)
        yield Stream(response, start, _origin(response, url, start))


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers of file:, ftp: and data: that urllib brings along."""
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-Agent", f"medexp/{__version__}"), ("Accept-Encoding", "identity")]
    for handler in (
        *(urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()),
        *(_Redirects(), urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler()),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str, have: int, before: Origin | None) -> urllib.request.Request:
    headers = {}
    if have and before:
        headers["Range"] = f"bytes={have}-"
        if before.mark:
            headers["If-Range"] = before.mark
    return urllib.request.Request(url, headers=headers)


def _start(response: Any, have: int, before: Origin | None) -> int:
    """The place of the answer's first byte in the file. Raises Stale where it does not continue what is here."""
    if response.status == 200:
        return 0
    if response.status != 206 or not have or not before:
        raise Unreachable(f"{host(response.url)} answers {response.status} {response.reason}, which is not the file")
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if sent is None or int(sent[1]) != have:
        raise Stale("answers with another part than was asked for; starting over")
    marks = ((before.etag, "ETag"), (before.modified, "Last-Modified"), (str(before.length or ""), None))
    for old, header in marks:
        new = response.headers.get(header) if header else sent[2].strip("*")
        if old and new and old != new:
            raise Stale("the file has changed since; starting over")
    return have


def _origin(response: Any, url: str, start: int) -> Origin:
    """The marks of the answer; a body's end that the server does not announce is not known."""
    length = response.headers.get("Content-Length", "")
    chunked = response.headers.get("Transfer-Encoding")
    whole = start + int(length) if length.isdigit() and not chunked else None
    return Origin(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), whole)


def _refused(url: str, error: urllib.error.HTTPError, have: int) -> Exception:
    if error.code == 416 and have:
        return Stale("has no such part of the file; starting over")
    answer = f"answers {error.code} {error.reason}"
    if error.code in AGAIN:
        wanted = error.headers.get("Retry-After", "")
        return Dropped(answer, min(float(wanted), LONGEST_PAUSE) if wanted.isdigit() else 0.0)
    return Unreachable(f"{host(url)} {answer} for {url}")


def _unreached(url: str, error: Exception, have: int) -> Exception:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    unknown = isinstance(cause, socket.gaierror) and not have
    if unknown or isinstance(cause, ssl.SSLCertVerificationError | str):
        return Unreachable(f"cannot reach {host(url)} ({reason(error)})")
    return Dropped(reason(error))


def reason(error: Exception) -> str:
    """A fault of the network in a few words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split())


def host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
