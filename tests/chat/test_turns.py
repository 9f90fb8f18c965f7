"""A turn runs to its end without a listener, but not forever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chat.turns import StreamEvent, TurnResult, TurnRunner
from providers.base import Unavailable


class ShortTurnRunner(TurnRunner):
    """A runner whose turns may take a twentieth of a second."""

    MAX_TURN_SECONDS = 0.05


async def endless() -> AsyncIterator[StreamEvent | TurnResult]:
    """A turn whose model never finishes."""
    yield StreamEvent("token", "Well")
    await asyncio.Event().wait()


async def failing() -> AsyncIterator[StreamEvent | TurnResult]:
    """A turn with a timeout of its own."""
    yield StreamEvent("token", "Well")
    raise TimeoutError("inside")


async def test_an_endless_turn_is_ended() -> None:
    """The listener receives the events before, and then an error with a sentence."""
    async with ShortTurnRunner() as turns:
        stream = turns.start(endless())

        assert await stream.next_event(1) == StreamEvent("token", "Well")
        with pytest.raises(Unavailable, match="took too long"):
            await stream.result()


async def test_another_timeout_is_raised_unchanged() -> None:
    """Only the limit of the turn itself is reported as an unavailable model."""
    async with TurnRunner() as turns:
        with pytest.raises(TimeoutError, match="inside"):
            await turns.start(failing()).result()
