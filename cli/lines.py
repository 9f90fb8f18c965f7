"""Read lines from standard input in the event loop, so that a signal interrupts the wait."""

import asyncio
import os
import sys
import termios


class LineReader:
    """Reads the lines of a file descriptor, by default standard input."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._buffer = b""

    def discard_typed_ahead(self) -> None:
        """Discard what was typed before now: it cannot be an answer to what is printed next."""
        if os.isatty(self._fd):
            self._buffer = b""
            termios.tcflush(self._fd, termios.TCIFLUSH)

    async def read_line(self) -> str | None:
        """Return the next line without its end, or None at the end of the input."""
        sys.stderr.flush()
        while b"\n" not in self._buffer:
            if not (read := await self._read_some()):
                line, self._buffer = self._buffer, b""
                return line.decode("utf-8", "replace") if line else None
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def _read_some(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:
            # A regular file cannot be waited for, and never has to be.
            return os.read(self._fd, 4096)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)
        return os.read(self._fd, 4096)
