"""Bodies on their way in: how large each may be, how large all of them together, and how slowly one may come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

# Of all bodies together that are larger than SMALL. What is small is held in any case: regmodel.connections bounds how many there are.
HELD_BYTES = 48 * 1024 * 1024
SMALL_BYTES = 64 * 1024
# A body that is too large is read on to here and thrown away, because a client that is still sending may not see an answer.
DRAINED_BYTES = 64 * 1024 * 1024
# A body may take this long, and a second more for each BYTES_A_SECOND that came.
SECONDS = 10.0
BYTES_A_SECOND = 64 * 1024


class NotTaken(Exception):
    """A body that is not read; status: of the answer, whose connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class Intake:
    """All bodies that are held at one time."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request, most: int) -> AsyncIterator[bytearray]:
        """Read a body of at most `most` bytes, and hold it as long as the block runs. Raises NotTaken."""
        body = bytearray()
        try:
            try:
                await self._read(request, body, most)
            except TimeoutError:
                raise NotTaken(408, f"the body came too slowly: {SECONDS:.0f} s, and one more for each {BYTES_A_SECOND} bytes") from None
            except ClientDisconnect:
                raise NotTaken(499, "the client went away") from None
            yield body
        finally:
            self._held -= len(body)

    async def _read(self, request: Request, body: bytearray, most: int) -> None:
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise NotTaken(415, f"the body has Content-Encoding {coding[:40]}: send it as it is")
        declared = request.headers.get("content-length", "0")
        if int(declared) > most and "expect" in request.headers:
            raise _too_large(most)
        loop = asyncio.get_running_loop()
        came, started = 0, loop.time()
        async with asyncio.timeout(SECONDS) as limit:
            async for chunk in request.stream():
                came += len(chunk)
                limit.reschedule(started + SECONDS + came / BYTES_A_SECOND)
                if came > DRAINED_BYTES:
                    raise _too_large(most)
                if came > most:
                    self._held -= len(body)
                    body.clear()
                    continue
                body += chunk
                self._held += len(chunk)
                if self._held > HELD_BYTES and len(body) > SMALL_BYTES:
                    raise NotTaken(503, "too many large bodies at once: send it again later, or fewer rows at once")
        if came > most:
            raise _too_large(most)


def _too_large(most: int) -> NotTaken:
    return NotTaken(413, f"the body is larger than {most} bytes, which is what this model's rows can need: send fewer rows at once")
