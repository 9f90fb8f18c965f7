"""When the texts of a film are displayed: its title card, captions and end card."""

from typing import NamedTuple

from providers.renders.manifest import ClipSpan, Manifest, build_timeline

#: The longest cards in seconds, and the share of a clip that a card may have; as in the compositions of Remotion.
TITLE_SECONDS, END_SECONDS, CARD_SHARE = 2.0, 1.2, 0.48


class TextTimes(NamedTuple):
    """Frames of the film. A text is displayed from its first frame up to but not including its end."""

    title_end: int
    end_card_start: int
    #: The first frame and the end of the caption of each clip.
    captions: list[tuple[int, int]]


def plan_texts(manifest: Manifest) -> TextTimes:
    """Return the times of the texts, which do not overlap. Without a card, its time is empty."""
    spans, has_title = build_timeline(manifest), manifest.look.title_card and bool(manifest.title.strip())
    first, last = spans[0], spans[-1]
    title_end = _card_frames(first, first.fade_out_frames, TITLE_SECONDS * manifest.fps) if has_title else 0
    used = title_end if len(spans) == 1 else last.fade_in_frames
    end_frames = _card_frames(last, used, END_SECONDS * manifest.fps) if manifest.look.end_card else 0
    captions = [
        (span.first_frame + span.fade_in_frames // 2, span.end_frame - span.fade_out_frames // 2) for span in spans
    ]
    captions[0] = (max(captions[0][0], title_end), captions[0][1])
    captions[-1] = (captions[-1][0], last.end_frame - end_frames)
    return TextTimes(title_end, last.end_frame - end_frames, captions)


def _card_frames(span: ClipSpan, used_frames: int, most: float) -> int:
    return int(min(most, (span.frames - used_frames) * CARD_SHARE))
