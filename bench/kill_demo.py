"""`make demo KILL=1`: make a film whose process is killed twice, and compare the ledger with the sandbox's own counts.

The process kills itself at the two moments at which a program without a ledger pays or posts twice: a provider has
accepted an order, and its answer is not stored yet. Database and sandbox outlive it, as those of a vendor would.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

import httpx
import typer
from pydantic import BaseModel
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table

from api.settings import Settings
from cli.local_services import STOP_TIMEOUT_SECONDS, Sandbox, checked_settings, sandbox_only, with_local_services
from cli.main import app
from cli.output import exit_with_error, stderr, stdout
from cli.running import run
from providers.orders import OrderKey
from runs.queries import list_runs
from storage import failpoints
from storage.database import Database, open_pool
from storage.orders import OrderRow, Orders

#: The failpoints at which the process is killed, in the order of a run, and what has just happened there.
KILLS = {
    "submit.accepted.clip": "the vendor accepted {order}",
    "submit.accepted.publication": "the publisher accepted the film",
}
#: The option of the killed process: the failpoint at which it kills itself.
KILL_AT = "--kill-at"


class Charge(BaseModel):
    """A charge of the sandbox for a video."""

    prompt: str
    usd: Decimal


@dataclass(frozen=True)
class VendorCounts:
    """What the sandbox has charged, and the ids of what it has posted, by its own records, oldest first."""

    charges: Sequence[Charge]
    posts: Sequence[str]

    @classmethod
    async def read(cls, url: str, *, after: "VendorCounts | None" = None) -> "VendorCounts":
        """Return the records of the sandbox at `url`, without those of `after`."""
        async with httpx.AsyncClient(base_url=f"{url}/sandbox", trust_env=False) as client:
            charges, posts = (await client.get("/charges")).json(), (await client.get("/posts")).json()
        return cls(
            [Charge.model_validate(each) for each in charges[len(after.charges) if after else 0 :]],
            [each["request_id"] for each in posts[len(after.posts) if after else 0 :]],
        )

    def charged_for(self, order: OrderRow) -> list[Decimal]:
        """Return the charges for a clip, in USD. Its prompt is like no other's, so that a second order shows."""
        return [each.usd for each in self.charges if order.kind == "clip" and each.prompt == order.request["prompt"]]

    def count_posts(self, order: OrderRow) -> int:
        """Return the number of posts of a publication."""
        return sum(order.kind == "publication" and each == order.task_id for each in self.posts)


def _name(order: OrderRow) -> str:
    return OrderKey.parse(order.key).name


def find_differences(orders: Sequence[OrderRow], vendor: VendorCounts) -> list[str]:
    """Return how the orders of a run and the vendor's counts differ from charged once, posted once."""
    found = [f"{_name(each)} is {each.state} in the ledger" for each in orders if each.state != "settled"]
    charged = {each.key: vendor.charged_for(each) for each in orders}
    found += [
        f"{_name(each)}: {each.spent_usd} USD in the ledger, {_sum_up(charged[each.key])}"
        for each in orders
        if each.kind == "clip" and charged[each.key] != [each.spent_usd]
    ]
    counts = {
        "charges": (sum(map(len, charged.values())), len(vendor.charges), sum(each.kind == "clip" for each in orders)),
        "posts": (sum(map(vendor.count_posts, orders)), len(vendor.posts), 1),
    }
    for name, (of_run, in_all, expected) in counts.items():
        if not of_run == in_all == expected:
            found.append(f"{in_all} {name}, {of_run} of them of this run, instead of {expected}")
    return found


async def demonstrate(settings: Settings, brief: str, project: str, flags: Sequence[str]) -> None:
    """Make a film by a process that is killed at each of KILLS. Exits with 1 if ledger and vendor differ."""
    url = Sandbox(settings.data_dir.absolute() / "sandbox").url
    async with (
        with_local_services(settings) as complete,
        open_pool(complete.session_url, name="myloware-cli", prepare=False) as pool,
    ):
        db, before = Database(pool), await VendorCounts.read(url)
        arguments = ["--project", project, *flags, "--", brief]
        for failpoint, moment in KILLS.items():
            await _make([KILL_AT, failpoint, "make", *arguments], status=-signal.SIGKILL)
            [newest] = await list_runs(db, limit=1)
            orders = await Orders(db).list_for_run(newest.run_id)
            counts = await VendorCounts.read(url, after=before)
            lost = ", ".join(_name(each) for each in orders if not each.task_id and counts.charged_for(each))
            stderr.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))  # of the spinner
            happened = f"just after {moment.format(order=lost)}, before the ledger had the answer"
            stderr.print(f"[bold red]Killed (SIGKILL)[/] {happened}. Starting again.", soft_wrap=True)
            arguments = ["--run", str(newest.run_id), *flags]
        film = await _make(["make", *arguments], status=0)
        orders = [each for each in await Orders(db).list_for_run(newest.run_id) if each.kind != "model"]
        vendor = await VendorCounts.read(url, after=before)
    stderr.print(_table(orders, vendor))
    if differences := find_differences(orders, vendor):
        exit_with_error(f"The ledger and the vendor differ: {'; '.join(differences)}.")
    stderr.print("[bold green]charged once, posted once[/]")
    stdout.print(film, soft_wrap=True)


async def _make(arguments: Sequence[str], *, status: int) -> str:
    """Run the command in a process of its own and return what it printed. Exits unless it ends with `status`."""
    command = [sys.executable, "-m", "bench.kill_demo", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            await asyncio.wait_for(process.wait(), 2 * STOP_TIMEOUT_SECONDS)
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode and process.returncode > 0:
        raise typer.Exit(process.returncode)  # it has printed why
    if process.returncode != status:
        exit_with_error(f"The process ended with status {process.returncode} instead of {status}.")
    return printed.decode().strip()


def _table(orders: Sequence[OrderRow], vendor: VendorCounts) -> Table:
    table = Table("Order", "Vendor's id", "In the ledger", "Vendor's own count")
    for order in orders:
        counted = {"clip": _sum_up(vendor.charged_for(order)), "publication": f"posted {vendor.count_posts(order)}×"}
        state = f"{order.state}, {order.spent_usd:.2f} USD" if order.kind == "clip" else order.state
        table.add_row(_name(order), (order.task_id or "")[:14], state, counted.get(order.kind, "made here"))
    return table


def _sum_up(charged: Sequence[Decimal]) -> str:
    return f"charged {len(charged)}×, {sum(charged):.2f} USD"


def demo(
    brief: str,
    project: Annotated[str, typer.Option()] = "shorts",
    remotion: Annotated[bool, typer.Option("--remotion")] = False,
) -> None:
    """Make a film like `myloware make --sandbox --yes`, whose process is killed twice."""
    settings = checked_settings(lambda given: sandbox_only(given, project=project, keep_renderer=remotion))
    run(demonstrate(settings, brief, project, ["--sandbox", "--yes", *["--remotion"] * remotion]))


if __name__ == "__main__":
    if sys.argv[1:2] == [KILL_AT]:
        _, _, kill_at, *command = sys.argv
        # As `kill -9` does: nothing of this process runs after it.
        failpoints.hook = lambda point: os.kill(os.getpid(), signal.SIGKILL) if point == kill_at else None
        app(command)
    elif sys.argv[1:2] == ["make"]:
        app(sys.argv[1:])
    else:
        typer.run(demo)
