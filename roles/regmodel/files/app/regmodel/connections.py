"""Connections: how many there are, and how long and how much a client may send that is no request.

uvicorn 0.54 with httptools has no such limits: a head may be endless, a connection may say nothing for ever, and its limit_concurrency
answers 503 to everybody, probes included, as soon as somebody holds enough connections.
"""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# Where there are more, the connection ends that has been waiting for its client for the longest time.
CONNECTIONS = 256
# The head of a request: its size, and how long it may take.
HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
# What a request may have in all, its bytes in chunks of any size included; and how many bytes of those one of the body may cost, from
# FRAMED_BYTES on. Chunks of a byte would keep the event loop busy.
REQUEST_BYTES = 96 * 1024 * 1024
FRAMED_BYTES = 128 * 1024
FRAMING = 4
# Requests that may wait for the answer to another on the same connection; uvicorn would hold any number with their bodies.
PIPELINED = 4
# How long an answer may lie here that its client does not read.
ANSWER_SECONDS = 30.0


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits."""

    # Connections whose clients are to act, the longest waiting first.
    waiting: dict[LimitedProtocol, None] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head: int | None = 0
        self._framed = self._bare = 0
        self._timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._wait()
        self._limit_head()
        if len(self.connections) > CONNECTIONS and self.waiting:
            # One that had an answer may be about to ask again.
            strangers = (one for one in self.waiting if one.cycle is None or not one.cycle.response_complete)
            next(strangers, next(iter(self.waiting)))._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        self._cancel()
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self._framed += len(data)
        else:
            self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head is not None and self._head > HEAD_BYTES:
            self.send_400_response(f"The head of the request has more than {HEAD_BYTES} bytes.")
        elif self._framed > REQUEST_BYTES or (self._framed > FRAMED_BYTES and self._framed > self._bare * FRAMING):
            self._end()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._limit_head()

    def on_headers_complete(self) -> None:
        self._head, self._framed, self._bare = None, 0, 0
        self._cancel()
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self._end()

    def on_body(self, body: bytes) -> None:
        self._bare += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.waiting.pop(self, None)
        self._head, self._framed, self._bare = 0, 0, 0
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(ANSWER_SECONDS, self._drop_unread)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _end(self) -> None:
        """End the connection now. Of several requests uvicorn would tell the last one only, and the first would write on."""
        if self._answering is not None:
            self._answering.disconnected = True
        self.transport.abort()

    def _wait(self) -> None:
        """The client is to act, as from now."""
        self.waiting.pop(self, None)
        self.waiting[self] = None

    def _limit_head(self) -> None:
        self._cancel()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._end)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self._end()
