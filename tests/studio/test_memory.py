"""The ledger in memory orders as the real one does, and from nobody but the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api import studio
from providers.base import Failed, Json, NotSent, OutcomeUnknown, Pending, Progress, ProviderError, Refused, Succeeded
from providers.orders import Approval, Order
from storage.memory import Hired, MemoryFiles, MemoryInbox, MemoryLedger, NotTheSandbox

SANDBOX = "http://127.0.0.1:8900"
APPROVED = Approval(0, "d" * 64)
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


class Maker:
    """Takes orders, keeps what it was asked, and can be unlucky: it raises `trouble`, one after the other."""

    name = "maker"
    lookup_window = timedelta(0)

    def __init__(self, *trouble: ProviderError) -> None:
        self.trouble = list(trouble)
        self.asked: list[str] = []
        self.placed: list[str] = []

    async def submit(self, request: Json, *, key: str) -> str:
        self.asked.append(key)
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, OutcomeUnknown) and trouble.code == "heard":
                self.placed.append(key)
            raise trouble
        self.placed.append(key)
        return f"task of {key}"

    async def lookup(self, request: Json, *, key: str, since: datetime) -> list[str]:
        return [f"task of {key}"] if key in self.placed else []

    async def poll(
        self, task_id: str, request: Json, *, into: Path, progress: Progress
    ) -> Pending | Failed | Succeeded:
        file = into / "clip.mp4"
        file.write_bytes(task_id.encode())
        return Succeeded(file, facts={"seconds": 4.0})

    def lookup_url(self, request: Json, *, key: str) -> Any:
        return {}


def _ledger(folder: Path, maker: Maker, address: str | None = f"{SANDBOX}/v1") -> MemoryLedger:
    for name in ("files", "scratch"):
        (folder / name).mkdir()
    return MemoryLedger({"clip": Hired(maker, address)}, SANDBOX, MemoryFiles(folder / "files"), folder / "scratch")


def _order(approval: Approval | None = APPROVED, key: str = "run:clip:1:1") -> Order:
    return Order(key=key, run_id="run", kind="clip", request={}, amount_usd=Decimal("0.40"), approval=approval)


async def _state(ledger: MemoryLedger, orders: Sequence[Order]) -> list[str]:
    standing = await ledger.statuses([order.key for order in orders])
    return [standing[order.key].state for order in orders]


@pytest.mark.parametrize("address", ["https://api.openai.com/v1", "http://127.0.0.1:89001/v1", f"{SANDBOX}.example/v1"])
def test_only_the_sandbox(tmp_path: Path, address: str) -> None:
    """A ledger without decisions orders from nobody else."""
    with pytest.raises(NotTheSandbox):
        _ledger(tmp_path, Maker(), address)


@pytest.mark.parametrize("url", ["https://api.openai.com", "http://192.0.2.1:8900", "http://sandbox.example", "8900"])
def test_sandbox_is_on_this_machine(url: str) -> None:
    """Studio takes no sandbox of somebody else's."""
    with pytest.raises(studio.SandboxAway):
        studio._made(url)


async def test_places_once(tmp_path: Path) -> None:
    """An order is placed once, and its file is kept."""
    maker, order = Maker(), _order()
    ledger = _ledger(tmp_path, maker)
    for _ in range(2):
        await ledger.place_once(order)

    (standing,) = (await ledger.statuses([order.key, "another"])).values()

    assert standing.state == "settled"
    assert maker.asked == [order.key]
    assert (tmp_path / "files" / standing.result["digest"]).is_file()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("approval", [None, Approval(7, "d" * 64), Approval(0, "")], ids=["none", "a row's", "empty"])
async def test_nothing_unapproved(tmp_path: Path, approval: Approval | None) -> None:
    """One order that nobody approved in Studio, and none of them is placed."""
    maker, orders = Maker(), [_order(), _order(approval, "run:clip:2:1")]
    ledger = _ledger(tmp_path, maker)
    await ledger.reserve(orders)

    for order in orders:
        await ledger.place_once(order)

    assert await _state(ledger, orders) == ["failed", "failed"]
    assert maker.asked == []


@pytest.mark.parametrize(
    ("trouble", "asked", "state"),
    [
        (NotSent("away", "It is away."), 2, "settled"),
        (Refused("no", "No."), 1, "failed"),
        (OutcomeUnknown("heard", "It may have heard."), 1, "settled"),
        (OutcomeUnknown("lost", "It may have heard."), 1, "unknown"),
    ],
    ids=["not sent", "refused", "heard", "not heard"],
)
async def test_trouble(tmp_path: Path, trouble: ProviderError, asked: int, state: str) -> None:
    """What did not arrive is placed again; what may have arrived is looked for, and never placed again."""
    maker, order = Maker(trouble), _order()
    ledger = _ledger(tmp_path, maker)
    await ledger.place_once(order)

    seen = [*await _state(ledger, [order]), *await _state(ledger, [order])]

    assert seen[-1] == state
    assert len(maker.asked) == asked


async def test_inbox() -> None:
    """Retries are counted and reviews told, of their run and gate only."""
    inbox = MemoryInbox[str]()
    inbox.retry("run")
    inbox.reviewed("run", "ideation", "more rain")

    assert [await inbox.retry_requested_since(run, BEFORE) for run in ("run", "other")] == [True, False]
    assert not await inbox.retry_requested_since("run", datetime.now(UTC))
    assert await inbox.review_history("run", "ideation") == ["more rain"]
    assert await inbox.review_history("run", "publish") == []
