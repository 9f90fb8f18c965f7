"""The texts over a film: captions, and with a look a title card and an end card. Each is drawn once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from providers.media.glyphs import find_missing_glyphs
from providers.media.overlay import Card, Overlay, draw_card, draw_overlay
from providers.media.subtitles import LANGUAGES, TextTrack, TimedText, find_language, split_cues
from providers.media.video_frames import apply_overlay, defocus
from providers.renders.manifest import ClipSpan, Manifest, build_timeline, plan_texts

ACCENT = "#ffd166"
MADE_WITH_AI = "Made with AI"
FADE_SECONDS, CARD_FADE_SECONDS, EXIT_SECONDS = 0.2, 0.3, 0.25
#: A word appears this long after the one before it, or sooner, so that all are there in this share of the time.
WORD_SECONDS, WORDS_SHARE = 0.28, 0.5


@dataclass(frozen=True)
class _Caption:
    """The caption of a clip, displayed from the frame `start` to the frame `end` of the film."""

    overlay: Overlay
    span: ClipSpan
    start: int
    end: int
    fps: int
    has_look: bool

    def opacity(self, frame: int) -> float | NDArray[np.uint16]:
        """Return the opacity at this frame, 0..1, or 0..256 for each pixel while words are missing."""
        whole = self.span.caption_opacity(frame)
        if not self.has_look:
            return whole
        whole = min(whole, (self.end - frame) / (EXIT_SECONDS * self.fps))
        words = 1 + max((area.word for area in self.overlay.words), default=0)
        step = min(WORD_SECONDS * self.fps, WORDS_SHARE * (self.end - self.start) / words)
        shares = [(frame + 1 - self.start - step * word) / (FADE_SECONDS * self.fps) for word in range(words)]
        if whole <= 0 or shares[0] <= 0:
            return 0.0
        if shares[-1] >= whole:
            return min(whole, 1.0)
        opacity = np.zeros(self.overlay.alpha.shape, np.uint16)
        for word, rows, columns in self.overlay.words:
            opacity[rows, columns] = round(256 * max(0.0, min(whole, shares[word], 1.0)))
        return opacity


class FilmTexts:
    """All texts of a film, to be drawn on its frames."""

    def __init__(self, manifest: Manifest) -> None:
        size, look = (manifest.width, manifest.height), manifest.look
        self._times, self._fps = plan_texts(manifest), manifest.fps
        spans = build_timeline(manifest)
        self._end = spans[-1].end_frame
        self._captions = [
            _Caption(overlay, span, *times, manifest.fps, look.is_any)
            for clip, span, times in zip(manifest.clips, spans, self._times.captions, strict=True)
            if (overlay := draw_overlay(clip.overlay, *size, has_words=look.word_captions))
        ]
        kicker, accent = manifest.props.get("kicker", ""), manifest.props.get("accent", ACCENT)
        heading = manifest.props.get("end") or manifest.title
        title = Card(kicker, manifest.title, "", accent, is_centred=False)
        end = Card("", heading, made_with_ai(manifest), accent, is_centred=True)
        self._title = draw_card(title, *size) if self._times.title_end else None
        self._end_card = draw_card(end, *size) if self._times.end_card_start < self._end else None

    def draw(self, canvas: VideoFrame, frame: int) -> None:
        """Draw the texts of this frame of the film on the canvas."""
        for caption in self._captions:
            if caption.span.first_frame <= frame < caption.span.end_frame:
                apply_overlay(canvas, caption.overlay, caption.opacity(frame))
        fade = CARD_FADE_SECONDS * self._fps
        if self._title and frame < self._times.title_end:
            _draw_card(canvas, self._title, min(frame + 1, self._times.title_end - frame) / fade)
        if self._end_card and frame >= self._times.end_card_start:
            _draw_card(canvas, self._end_card, (frame + 1 - self._times.end_card_start) / fade)


def _draw_card(canvas: VideoFrame, card: Overlay, share: float) -> None:
    defocus(canvas, min(1.0, share))
    apply_overlay(canvas, card, min(1.0, share))


def made_with_ai(manifest: Manifest) -> str:
    """Return "Made with AI" in the language of the film, as far as that is known and can be drawn."""
    words = "".join([manifest.title, *(clip.overlay for clip in manifest.clips)])
    text = LANGUAGES.get(find_language(words), {}).get("made_with_ai", MADE_WITH_AI)
    return MADE_WITH_AI if find_missing_glyphs(text) else text


def text_track(manifest: Manifest, narrations: Sequence[TimedText] = ()) -> TextTrack:
    """Return the spoken words, and the captions of the clips without a narration, with their times in the film."""
    seconds = build_timeline(manifest)[-1].end_frame / manifest.fps
    texts = [
        TimedText(start / manifest.fps, end / manifest.fps, clip.overlay)
        for clip, (start, end) in zip(manifest.clips, plan_texts(manifest).captions, strict=True)
        if clip.overlay.strip() and not clip.narration
    ]
    cues = [cue for words in narrations for cue in split_cues(words) if cue.text and cue.start < seconds]
    texts += [cue._replace(end=min(cue.end, seconds)) for cue in cues]
    return TextTrack(texts, seconds, find_language("".join([manifest.title, *(text.text for text in texts)])))
