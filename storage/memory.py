"""In-memory twins of what the line asks of storage, for Studio: they order as the real ones do, from the sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

from providers.base import (
    ArtifactChanged,
    ArtifactMissing,
    Failed,
    Files,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Provider,
    Refused,
    Succeeded,
    Unavailable,
)
from providers.orders import ModelAnswer, Order, OrderState, OrderStatus, RetryOptions

E = TypeVar("E")


class NotTheSandbox(ValueError):
    """A provider would be asked that is not the sandbox: nobody approves with a number in memory."""


class MemoryFiles(Files):
    """The kept files of one process: in a folder, by digest, known as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        """`folder` is there already, and belongs to nobody else."""
        self._folder = folder

    async def keep(self, path: Path) -> str:
        """Move the file at `path` in and return its digest."""
        digest = await asyncio.to_thread(_digest, path)
        await asyncio.to_thread(shutil.move, path, self._folder / digest)
        return digest

    async def local_path(self, digest: str) -> Path:
        """See Files."""
        path = self._folder / digest
        try:
            if await asyncio.to_thread(_digest, path) != digest:
                raise ArtifactChanged(digest)
        except FileNotFoundError:
            raise ArtifactMissing(digest) from None
        return path


@dataclass(frozen=True)
class Hired:
    """Who takes the orders of a kind, and at which address; None for one that works on this machine."""

    provider: Provider
    address: str | None


@dataclass
class _Kept:
    order: Order
    state: OrderState = "reserved"
    called_at: datetime | None = None
    task_id: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    settled_at: datetime | None = None
    hands: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def standing(self) -> OrderStatus:
        order = self.order
        return OrderStatus(
            order.key, order.kind, self.state, order.amount_usd, self.task_id, self.result, self.settled_at
        )


class MemoryLedger:
    """Orders in memory, for debugging: see `graph.ports.Ledger`.

    There are no rows of decisions here, so an approval counts if it has the number 0, as gates give it in Studio.
    That is why every provider must be the sandbox. Nobody is told of anything: an order is looked after whenever
    somebody asks how it stands.
    """

    def __init__(self, hired: Mapping[str, Hired], sandbox: str, files: MemoryFiles, scratch: Path) -> None:
        """`hired` names who takes the orders of each kind; `scratch` is a folder that is there already.

        Raises NotTheSandbox.
        """
        for kind, each in hired.items():
            if each.address is not None and not f"{each.address}/".startswith(f"{sandbox.rstrip('/')}/"):
                raise NotTheSandbox(f"The orders of a {kind} would go to {each.address}, and that is not the sandbox.")
        self._hired = hired
        self._files = files
        self._scratch = scratch
        self._orders: dict[str, _Kept] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Write these orders down: all of them if they were approved in Studio, or else all as failed."""
        new = [_Kept(order) for order in orders if order.key not in self._orders]
        if not all(_approved(each.order) for each in new):
            for each in new:
                _fail(each, "not_approved", f"Nobody approved this {each.order.kind} here, so it is not ordered.")
        self._orders |= {each.order.key: each for each in new}

    async def place_once(self, order: Order) -> None:
        """Place the order, at most once for its key, if it was approved in Studio."""
        await self.reserve([order])
        kept = self._orders[order.key]
        async with kept.hands:
            if kept.state == "reserved" and kept.called_at is None:
                await self._place(kept)

    async def cached_answer(
        self, key: str, run_id: str, ask: Callable[[], Awaitable[ModelAnswer[Any]]]
    ) -> dict[str, Any]:
        """A model's answer, asked for once and kept."""
        if key not in self._answers:
            answer = await ask()
            self._answers[key] = answer.value.model_dump(mode="json")
        return self._answers[key]

    async def statuses(self, keys: Sequence[str]) -> dict[str, OrderStatus]:
        """How these orders stand, after a look at those that are not over."""
        kept = [self._orders[key] for key in keys if key in self._orders]
        await asyncio.gather(*map(self._bring_on, kept))
        return {each.order.key: each.standing for each in kept}

    async def _place(self, kept: _Kept) -> None:
        provider, kept.called_at = self._hired[kept.order.kind].provider, datetime.now(UTC)
        try:
            kept.task_id = await provider.submit(kept.order.request, key=kept.order.key)
        except NotSent:
            kept.called_at = None
        except Refused as error:
            _fail(kept, error.code, error.message)
        except OutcomeUnknown:
            return  # looked up at the next look, never placed again
        else:
            kept.state = "submitted"

    async def _bring_on(self, kept: _Kept) -> None:
        async with kept.hands:
            if kept.state == "submitted":
                await self._look(kept)
            elif kept.state == "reserved" and kept.called_at is None:
                await self._place(kept)
            elif kept.state == "reserved":
                await self._find(kept, kept.called_at or datetime.now(UTC))

    async def _find(self, kept: _Kept, called_at: datetime) -> None:
        provider, order = self._hired[kept.order.kind].provider, kept.order
        try:
            found = await provider.lookup(order.request, key=order.key, since=called_at)
        except Unavailable:
            return
        bound = {each.task_id for each in self._orders.values() if each.order.kind == order.kind}
        unbound = [task_id for task_id in found if task_id not in bound]
        if unbound:
            kept.task_id, kept.state = unbound[0], "submitted"
        elif datetime.now(UTC) - called_at > provider.lookup_window:
            kept.state = "unknown"

    async def _look(self, kept: _Kept) -> None:
        provider, order = self._hired[kept.order.kind].provider, kept.order
        async with self._folder() as into:
            try:
                state = await provider.poll(kept.task_id or "", order.request, into=into, progress=_untold)
            except Unavailable:
                return
            match state:
                case Failed(code, message, charged):
                    _fail(kept, code, message, charged=charged)
                case Succeeded(file=file, facts=facts):
                    digest = {"digest": await self._files.keep(file)} if file is not None else {}
                    kept.result, kept.state, kept.settled_at = {**facts, **digest}, "settled", datetime.now(UTC)
                case NotFound():
                    _fail(kept, "video_lost", "The sandbox does not know it any more.")

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        into = self._scratch / uuid4().hex
        await asyncio.to_thread(into.mkdir)
        try:
            yield into
        finally:
            await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)


class MemoryInbox(Generic[E]):
    """What people did beside deciding, in memory; `E` is what a review is told as. See `graph.ports.Inbox`."""

    def __init__(self) -> None:
        self._retried: dict[str, datetime] = {}
        self._reviews: dict[tuple[str, str], list[E]] = {}

    def retry(self, run_id: str) -> None:
        """A person asks to try the run again."""
        self._retried[run_id] = datetime.now(UTC)

    def reviewed(self, run_id: str, gate: str, review: E) -> None:
        """A gate was answered."""
        self._reviews.setdefault((run_id, gate), []).append(review)

    async def retry_requested_since(self, run_id: str, since: datetime) -> bool:
        """Whether a person asked to try the run again after that."""
        return run_id in self._retried and self._retried[run_id] > since

    async def retry_options(self, run_id: str) -> RetryOptions:
        """What the person wanted done differently: here nobody can say."""
        return {"prompts": {}, "drop": []}

    async def review_history(self, run_id: str, gate: str) -> list[E]:
        """The reviews of this gate so far, oldest first."""
        return list(self._reviews.get((run_id, gate), ()))


def _approved(order: Order) -> bool:
    approval = order.approval
    return order.kind == "render" or (approval is not None and approval.decision == 0 and approval.digest != "")


def _fail(kept: _Kept, code: str, message: str, *, charged: bool = False) -> None:
    kept.settled_at = datetime.now(UTC)
    kept.state, kept.result = "failed", {"code": code, "message": message, **({"charged": True} if charged else {})}


async def _untold(_share: float) -> None:
    """Nobody listens for progress here."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
