"""What is remembered of pictures that pass: how many, how black, how still."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame

_BLACK = 20  # mean luma, where 16 is black
_STILL = 0.05  # mean change of luma
_STEP = 16  # one pixel of so many each way is enough to tell


class Watch:
    """Counts of the pictures seen. A run is the longest number of pictures in a row."""

    def __init__(self) -> None:
        self.frames = 0
        self.black = 0
        self.black_run = 0
        self.still_run = 0
        self._black_now = 0
        self._still_now = 0
        self._last: np.ndarray[tuple[int, ...], np.dtype[np.int16]] | None = None

    def see(self, frame: VideoFrame) -> None:
        """Take note of the next picture; its first plane is luma."""
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        luma = rows[::_STEP, : frame.width : _STEP].astype(np.int16)
        black = bool(luma.mean() < _BLACK)
        still = self._last is not None and bool(np.abs(luma - self._last).mean() < _STILL)
        self._last = luma
        self.frames += 1
        self.black += black
        self._black_now = self._black_now + 1 if black else 0
        self._still_now = self._still_now + 1 if still else 0
        self.black_run = max(self.black_run, self._black_now)
        self.still_run = max(self.still_run, self._still_now)

    def mostly_black(self, fps: float) -> bool:
        """Whether a tenth of the pictures, or more than a second in a row, is black."""
        return self.black * 10 >= self.frames or self.black_run > fps

    def frozen(self, fps: float) -> bool:
        """Whether nothing moves for a second."""
        return self.still_run >= fps
