"""Text helpers of the language rules: prompt sections, numbers and shortening."""

import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

#: Words in a brief that inject faults into the video job; they are copied into the first scene.
FAULT_WORDS = ("#moderation_blocked", "#fail", "#slow", "#truncated", "#html", "#silent")

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}
_WORDS = "|".join(NUMBERS)
_NUMBERS = rf"(?:(?:#?\d+|{_WORDS})\b(?:,? and |, ?| & |-)?)+"


def read_table(name: str) -> dict[str, Any]:
    """Return the table of a TOML file beside this module."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text("utf-8"))


#: English words that carry no meaning of a brief.
STOP_WORDS = frozenset(read_table("idea_languages")["en"]["stop"].split())


def extract_section(text: str, tag: str) -> str:
    """Return the text between <tag> and </tag> at its last occurrence, or an empty string."""
    found = re.findall(rf"<{tag}>\s*(.*?)\s*</{tag}>", text, re.DOTALL)
    return str(found[-1]) if found else ""


def find_numbers(text: str, noun: str = "ideas?|clips?|shots?|scenes?|number") -> set[int]:
    """Return the numbers of the things that a text names by noun and number: “clips 2 and 4”, “the first clip”."""
    found = {n for ordinal, n in ORDINALS.items() if re.search(rf"\b{ordinal} (?:{noun})\b", text.lower())}
    for run in re.findall(rf"\b(?:{noun})(?: number| no\.?|s)? ?({_NUMBERS})", text.lower()):
        found |= {int(n) if n.isdigit() else NUMBERS[n] for n in re.findall(rf"\d+|\b(?:{_WORDS})\b", run)}
    return found


def shorten(text: str, length: int) -> str:
    """Return the text on one line, cut between words, if it has any, where it is longer than `length` characters."""
    line = " ".join(text.split())
    short = textwrap.shorten(line, length, placeholder="…")
    return f"{line[: length - 1]}…" if short == "…" else short


def capitalize(text: str) -> str:
    """Return the text with an upper-case first letter; the other letters are unchanged."""
    return text[:1].upper() + text[1:]


def join_words(words: list[str]) -> str:
    """Return the words as an enumeration: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
