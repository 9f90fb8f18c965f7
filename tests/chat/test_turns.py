"""A turn goes on by itself, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chat.session import StreamEvent, TurnResult
from chat.turns import TurnRunner
from providers.base import Unavailable


class Hasty(TurnRunner):
    """Turns that may take a twentieth of a second."""

    LONGEST = 0.05


async def endless() -> AsyncIterator[StreamEvent | TurnResult]:
    """A model that begins and never comes to its end."""
    yield StreamEvent("token", "Well")
    await asyncio.Event().wait()


async def broken() -> AsyncIterator[StreamEvent | TurnResult]:
    """Something inside that took too long by itself."""
    yield StreamEvent("token", "Well")
    raise TimeoutError("inside")


async def test_a_turn_that_never_ends_is_ended() -> None:
    """Whoever listens is told, in a sentence, what was said before that too."""
    async with Hasty() as turns:
        heard = turns.begin(endless())

        assert await heard.within(1) == StreamEvent("token", "Well")
        with pytest.raises(Unavailable, match="took too long"):
            await heard.turn()


async def test_another_time_out_is_told_as_what_it_is() -> None:
    """Only the turn's own limit speaks for the model."""
    async with TurnRunner() as turns:
        with pytest.raises(TimeoutError, match="inside"):
            await turns.begin(broken()).turn()
