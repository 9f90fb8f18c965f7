"""The commands of the prompt at a gate."""

from dataclasses import dataclass

from graph.decisions import Gate

IDEA_FIELDS = ("title", "scene", "sound", "overlay", "narration", "image")


@dataclass(frozen=True)
class Command:
    """A command of the prompt, with an example for its help."""

    gates: tuple[Gate, ...]
    example: str
    meaning: str


BOTH: tuple[Gate, ...] = ("ideation", "publish")
COMMANDS = {
    "approve": Command(BOTH, "approve", "accept what is shown, at the price shown (also: yes, y)"),
    "keep": Command(("ideation",), "keep 1 3", "keep only these ideas, in this order, and show the new price"),
    "drop": Command(("ideation",), "drop 2", "leave ideas out and show the new price"),
    "edit": Command(("ideation",), "edit 2 overlay Stay", f"replace a part of an idea: {', '.join(IDEA_FIELDS)}"),
    "sample": Command(("ideation",), "sample 1", "order only these clips first; the price is shown before"),
    "redo": Command(("publish",), "redo 1 3 too dark", "order clips again; the price is shown before"),
    "take": Command(("publish",), "take 3 1", "use take 1 of clip 3 instead; needs `render`"),
    "overlay": Command(("publish",), "overlay 2 Stay", "replace the text over a clip; needs `render`"),
    "music": Command(("publish",), "music DIGEST CC BY 4.0, Artist", "uploaded music and its licence, or none"),
    "render": Command(("publish",), "render", "render the film again with the changes; orders no clip"),
    "caption": Command(("publish",), "caption Rain for an hour.", "replace the caption"),
    "hashtags": Command(("publish",), "hashtags #rain #calm", "replace the hashtags"),
    "schedule": Command(("publish",), "schedule 2026-12-01T18:00+01:00", "publish not before this time; then approve"),
    "change": Command(BOTH, "change more rain, less wind", "request changes; a whole sentence works without `change`"),
    "reject": Command(BOTH, "reject", "end the run; nothing is ordered or published"),
    "reset": Command(BOTH, "reset", "discard your edits"),
    "show": Command(BOTH, "show", "show it again, with your edits"),
    "help": Command(BOTH, "help", "list these commands"),
    "quit": Command(BOTH, "quit", "leave the gate open and stop here"),
}
SYNONYMS = {"yes": "approve", "y": "approve", "?": "help", "exit": "quit", "q": "quit"}
