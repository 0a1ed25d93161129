"""An HTTP proxy in front of an S3 server, on which chosen requests go wrong as they do on real networks.

Requests and answers pass unchanged (signatures hold, as the Host header does too) unless a `Rule` gives a `Fault` for
one. Faults are plain functions of an `Exchange`; those that take parameters are made by functions. It knows HTTP and
which S3 operation a request is, and nothing of the code under test.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_PATIENCE = 60.0
_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Answer:
    """What a server says."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Seen:
    """A request that arrived: when (monotonic seconds), which operation on which key, and the fault it met, if any."""

    time: float
    operation: str
    key: str
    fault: str


class Exchange:
    """One request, and the means to treat it well or badly."""

    def __init__(self, handler: BaseHTTPRequestHandler, proxy: Proxy) -> None:
        self._handler, self._proxy = handler, proxy
        url = urlsplit(handler.path)
        self.query = parse_qs(url.query, keep_blank_values=True)
        self.bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        self.key = key or self.query.get("prefix", [""])[0]
        self.length = int(handler.headers.get("Content-Length", 0))

    @cached_property
    def operation(self) -> str:
        """The S3 operation in a word."""
        method = self._handler.command
        if "uploadId" in self.query:
            return {"PUT": "part", "POST": "complete", "DELETE": "abort"}.get(method, "parts")
        if "uploads" in self.query:
            return "begin" if method == "POST" else "uploads"
        if method == "GET" and ("list-type" in self.query or "prefix" in self.query):
            return "list"
        if method == "PUT" and "If-None-Match" in self._handler.headers:
            return "create"
        return method.lower()

    @cached_property
    def body(self) -> bytes:
        """All of the request's body, read now."""
        return self._handler.rfile.read(self.length)

    def forward(self) -> Answer:
        """What the server says to the request as it came."""
        connection = self._to_server(self.length, self.body)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_ONE_CONNECTION}
        return Answer(answer.status, headers, body)

    def break_off(self) -> None:
        """Send the server half of the body and then nothing more."""
        self._to_server(self.length, self.body[: self.length // 2]).close()

    def reply(self, answer: Answer) -> None:
        """Answer the request; a HEAD keeps the length that it asked for."""
        head = self._handler.command == "HEAD"
        length = len(answer.body) if not head else int(answer.headers.get("Content-Length", 0))
        self._start(answer, length)
        if not head:
            self._handler.wfile.write(answer.body)

    def reply_in_part(self, answer: Answer) -> None:
        """Say how long the answer is, send half of it, and reset the connection."""
        self._start(answer, len(answer.body))
        self._handler.wfile.write(answer.body[: len(answer.body) // 2])
        self.reset()

    def reset(self) -> None:
        """End the client's connection without a word."""
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(connection.detach())
        self._handler.close_connection = True

    def _to_server(self, length: int, body: bytes) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._proxy.server, timeout=_PATIENCE)
        connection.putrequest(self._handler.command, self._handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self._handler.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION:
                connection.putheader(name, value)
        connection.endheaders()
        connection.send(body)
        return connection

    def _start(self, answer: Answer, length: int) -> None:
        self._handler.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() != "content-length":
                self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(length))
        self._handler.end_headers()


Fault = Callable[[Exchange], None]
Rule = Callable[[Exchange], Fault | None]


# --- faults -----------------------------------------------------------------------------------------------------------


def refuse(status: int, code: str) -> Fault:
    """The server says no, and does nothing."""

    def refused(exchange: Exchange) -> None:
        exchange.body  # noqa: B018  # read, or the connection would be out of step
        text = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        exchange.reply(Answer(status, {"Content-Type": "application/xml"}, text))

    return _named(refused, code)


def reset_in_body(exchange: Exchange) -> None:
    """The connection breaks in the middle of a request's body (or before any answer); the server gets none of it."""
    exchange._handler.rfile.read(exchange.length // 2)
    exchange.reset()


def torn_put(exchange: Exchange) -> None:
    """The server gets half of a body, and the client no answer."""
    exchange.break_off()
    exchange.reset()


def lost_answer(exchange: Exchange) -> None:
    """The request is carried out, and its answer gets lost."""
    exchange.forward()
    exchange.reset()


def broken_answer(exchange: Exchange) -> None:
    """The connection breaks in the middle of the answer."""
    exchange.reply_in_part(exchange.forward())


def truncated(exchange: Exchange) -> None:
    """Half of an answer arrives and passes itself off as the whole."""
    answer = exchange.forward()
    exchange.reply(replace(answer, body=answer.body[: len(answer.body) // 2]))


def flipped(exchange: Exchange) -> None:
    """One bit in the middle of an answer arrives wrong."""
    answer = exchange.forward()
    body = bytearray(answer.body)
    if body:
        body[len(body) // 2] ^= 1
    exchange.reply(replace(answer, body=bytes(body)))


def wrong_etag(exchange: Exchange) -> None:
    """The entity tag in the answer is another one's."""
    answer = exchange.forward()
    headers = {name: f'"{"0" * 32}"' if name.lower() == "etag" else value for name, value in answer.headers.items()}
    exchange.reply(replace(answer, headers=headers))


def slow(seconds: float) -> Fault:
    """The answer takes its time."""

    def delayed(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.reply(exchange.forward())

    return _named(delayed, "slow")


class LaggingList:
    """Lists are as they were some seconds before: a rule by itself."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[str, list[tuple[float, Answer]]] = {}
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> Fault | None:
        return self.lagging if exchange.operation == "list" else None

    def lagging(self, exchange: Exchange) -> None:
        now, fresh = time.monotonic(), exchange.forward()
        with self._lock:
            known = self._known.setdefault(exchange._handler.path, [(0.0, _empty(fresh))])
            known.append((now, fresh))
            exchange.reply([answer for seen, answer in known if seen <= now - self._seconds][-1])


def _empty(listing: Answer) -> Answer:
    body = re.sub(rb"<Contents>.*</Contents>", b"", listing.body, flags=re.DOTALL)
    return replace(listing, body=re.sub(rb"<KeyCount>\d+</KeyCount>", b"<KeyCount>0</KeyCount>", body))


def _named(fault: Fault, name: str) -> Fault:
    fault.__name__ = name
    return fault


# --- rules ------------------------------------------------------------------------------------------------------------


def every(fault: Fault, *operations: str, key: str = "") -> Rule:
    """All requests of some operations, on keys that hold a text."""
    return lambda exchange: fault if exchange.operation in operations and key in exchange.key else None


def first(times: int, fault: Fault, *operations: str, key: str = "") -> Rule:
    """The first requests of some operations, on keys that hold a text, and no later ones."""
    return after(0, fault, *operations, key=key, until=times)


def after(count: int, fault: Fault, *operations: str, key: str = "", until: float = float("inf")) -> Rule:
    """The requests of some operations from number `count` on, before number `until`."""
    met, lock, wanted = [0], threading.Lock(), every(fault, *operations, key=key)

    def rule(exchange: Exchange) -> Fault | None:
        found = wanted(exchange)
        if found is None:
            return None
        with lock:
            met[0] += 1
            return found if count < met[0] <= until else None

    return rule


def sometimes(seed: int, share: float, faults: dict[str, list[Fault]]) -> Rule:
    """A share of all requests, by chance; faults are listed by operation."""
    chance, lock = random.Random(seed), threading.Lock()

    def rule(exchange: Exchange) -> Fault | None:
        with lock:
            if chance.random() >= share or exchange.operation not in faults:
                return None
            return chance.choice(faults[exchange.operation])

    return rule


def _never(exchange: Exchange) -> Fault | None:
    return None


# --- the proxy --------------------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """A running proxy. `rule` may be changed at any time; `seen` grows with every request."""

    server: str
    endpoint: str = ""
    rule: Rule = _never
    seen: list[Seen] = field(default_factory=list)

    def faults(self) -> list[Seen]:
        """The requests that went wrong."""
        return [each for each in self.seen if each.fault]

    def treat(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass a request on, or not."""
        exchange = Exchange(handler, self)
        fault = self.rule(exchange)
        name = fault.__name__ if fault else ""
        self.seen.append(Seen(time.monotonic(), exchange.operation, exchange.key, name))
        if fault:
            fault(exchange)
        else:
            exchange.reply(exchange.forward())


@contextmanager
def in_front_of(endpoint: str) -> Iterator[Proxy]:
    """A proxy on loopback in front of a server, for as long as the block lasts."""
    proxy = Proxy(urlsplit(endpoint).netloc)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = _PATIENCE

        def _any(self) -> None:
            # Either side may have gone away.
            with suppress(ConnectionError, http.client.HTTPException, TimeoutError):
                proxy.treat(self)
                return
            self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
