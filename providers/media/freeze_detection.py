"""Detect black and frozen frames, like ffmpeg's blackdetect and freezedetect."""

import numpy as np
from av.video.frame import VideoFrame

_BLACK_LUMA = 20  # mean luma below this is black; video black is 16
_FROZEN_DIFFERENCE = 0.05  # mean luma difference to the previous frame
_SAMPLE_STEP = 16  # every 16th pixel in each direction is enough


class BlackFreezeDetector:
    """Frame counters of a video. A run is the longest number of consecutive frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.black_frames = 0
        self.longest_black_run = 0
        self.longest_frozen_run = 0
        self._current_black_run = 0
        self._current_frozen_run = 0
        self._previous_luma: np.ndarray[tuple[int, ...], np.dtype[np.int16]] | None = None

    def add_frame(self, frame: VideoFrame) -> None:
        """Count the next frame; its first plane is luma."""
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        luma = rows[::_SAMPLE_STEP, : frame.width : _SAMPLE_STEP].astype(np.int16)
        previous, self._previous_luma = self._previous_luma, luma
        is_black = bool(luma.mean() < _BLACK_LUMA)
        is_frozen = previous is not None and bool(np.abs(luma - previous).mean() < _FROZEN_DIFFERENCE)
        self.frames += 1
        self.black_frames += is_black
        self._current_black_run = self._current_black_run + 1 if is_black else 0
        self._current_frozen_run = self._current_frozen_run + 1 if is_frozen else 0
        self.longest_black_run = max(self.longest_black_run, self._current_black_run)
        self.longest_frozen_run = max(self.longest_frozen_run, self._current_frozen_run)

    def is_mostly_black(self, fps: float) -> bool:
        """Return whether a tenth of all frames, or more than one second in a row, is black."""
        return self.black_frames * 10 >= self.frames or self.longest_black_run > fps

    def is_frozen(self, fps: float) -> bool:
        """Return whether the image does not change for a second."""
        return self.longest_frozen_run >= fps
