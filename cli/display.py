"""Reviews, runs, orders and the progress of a run as text for the terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from cli.output import program, stderr, stdout
from graph.review_content import IdeasContent, ReviewContent, describe_clips
from providers.orders import OrderKey
from runs.queries import RunView, Waiting
from storage.events import Event

if TYPE_CHECKING:
    from runs.decide import Quote

#: From this width on, whole ids are listed.
WIDE_TERMINAL = 120
PROJECT_CHARACTERS = 10

_event = TypeAdapter(Event)


def print_review(console: Console, content: ReviewContent) -> None:
    """Print the content of a review: the ideas with their price, or the film with its post."""
    if isinstance(content, IdeasContent):
        console.print(_ideas_table(content))
        price = f"{len(content.make)} clips for [bold]{content.estimated_usd} USD[/]."
        console.print(f"{price} {describe_clips(content)}", soft_wrap=True)
        return
    platforms = ", ".join(content.platforms)
    console.print(f"[bold]{escape(content.title)}[/], {content.film.seconds:.2f} s, for {platforms}:", soft_wrap=True)
    lines = [content.caption, " ".join(content.hashtags)]
    lines += [f"clip {clip.clip}, take {clip.take} of {clip.takes}: {clip.overlay}" for clip in content.clips]
    if content.music:
        lines.append(f"music {content.music.digest[:8]}: {content.music.licence}")
    lines += [content.mark_note, *(f"{platform}: {label}" for platform, label in content.labels.items())]
    lines += [f"Note: {remark}" for remark in content.remarks]
    console.print("\n".join(f"  {line}" for line in lines), markup=False, soft_wrap=True)


def print_result(result: object, as_json: bool, lines: Iterable[str]) -> None:
    """Print a result as JSON, or these lines about it."""
    if as_json:
        stdout.print_json(data=to_jsonable_python(result))
        return
    for line in lines:
        stdout.print(line, markup=False, soft_wrap=True)


def print_run(run: RunView, as_json: bool) -> None:
    """Print a run, the reason why it failed, and its open review with the command that decides it."""
    if as_json:
        stdout.print_json(run.model_dump_json())
        return
    step = f", step {run.current_step}" if run.current_step else ""
    stdout.print(f"{run.run_id}  {run.status}{step}", soft_wrap=True)
    stdout.print(f"{run.project}, {run.cost.spent_usd:.2f} USD spent: {run.brief}", markup=False, soft_wrap=True)
    if run.error:
        stdout.print(f"[red]{run.error.code}[/]: {escape(run.error.message)}", soft_wrap=True)
    if run.waiting:
        _print_waiting(run.waiting)
    if review := run.review:
        stdout.print(f"The {review.gate} gate is open, revision {review.revision}:")
        print_review(stdout, review.content)
        decide_command = f"{program()} runs approve {run.run_id} {review.gate} --digest {review.digest}"
        stdout.print(f"Decide: {decide_command}", soft_wrap=True)


def describe_quote(quote: "Quote", clips: int) -> str:
    """Return the price of so many clips in words, with what the caps leave."""
    count = f"{clips} clip{'s' if clips > 1 else ''}"
    return f"{count} for {quote.usd:.2f} USD; the caps leave {quote.cap_left_usd:.2f} USD."


def _ideas_table(content: IdeasContent) -> Table:
    table = Table(title=escape(content.title), title_justify="left", show_lines=True, expand=False)
    table.add_column("#", justify="right")
    table.add_column("Idea", ratio=1)
    table.add_column("Scene and sound", ratio=3)
    table.add_column("Overlay", ratio=1)
    for number, idea in enumerate(content.ideas, start=1):
        narrated = f"\nNarration: {escape(idea.narration)}" if idea.narration else ""
        scene = f"{escape(idea.scene)}\n[dim]{escape(idea.sound)}[/]{narrated}"
        table.add_row(str(number), escape(idea.title), scene, escape(idea.overlay))
    return table


def print_unknown_orders(evidence: Mapping[str, Any]) -> None:
    """Print orders of unknown outcome: where to look, and the provider's orders that may be the same."""
    for order in evidence["orders"]:
        since = order["placed_since"]
        time = f"not called, but perhaps before the restore, since {since}" if since else f"called {order['called_at']}"
        called = f"{order['order']}, {time}, {order['usd']:.2f} USD, at {order['provider']}."
        proof = f"{order['lookup_proof']} Look: {order['lookup_url']}"
        stderr.print(f"{called}\n  {proof}", soft_wrap=True, markup=False)
        if order["candidates"] is None:
            stderr.print("  The provider cannot be asked for candidates now.")
        for found in order["candidates"] or []:
            line = f"  may be {found['task_id']}, {found['status']}, created {found['created_at']}: {found['url']}"
            stderr.print(line, soft_wrap=True, markup=False)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _print_waiting(waiting: Waiting) -> None:
    """Print what a run waits for, the last answer and the time of the next attempt."""
    provider = f" from {waiting.provider}" if waiting.provider else ""
    text = f"Waiting for {waiting.what}{provider} since {_utc(waiting.since)}."
    if waiting.scheduled_for:
        text += f" Scheduled for {_utc(waiting.scheduled_for)}; until then `runs cancel` posts nothing."
    if waiting.last_answer:
        text += f" Attempt {waiting.attempts}: {waiting.last_answer} ({waiting.code})"
    if waiting.next_attempt_at and not waiting.scheduled_for:
        text += f" Next attempt at {_utc(waiting.next_attempt_at)}."
    stdout.print(text, soft_wrap=True, markup=False)


def list_of_runs(runs: Sequence[RunView], short_ids: Mapping[UUID, str], width: int) -> Iterator[str]:
    """Yield a heading and a line for each run. Ids and statuses are whole; the brief is cut to the width."""
    is_wide = width >= WIDE_TERMINAL
    rows = [("run", "status", "project", "spent", "brief")]
    rows += [_row(run, str(run.run_id) if is_wide else short_ids.get(run.run_id, str(run.run_id))) for run in runs]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    widths[2] = min(widths[2], 2 * PROJECT_CHARACTERS if is_wide else PROJECT_CHARACTERS)
    widths[-1] = max(min(widths[-1], width - sum(widths[:-1]) - 2 * (len(widths) - 1)), 0)
    for row in rows:
        yield "  ".join(_fitted(text, cells) for text, cells in zip(row, widths, strict=True)).rstrip()


def _row(run: RunView, run_id: str) -> tuple[str, str, str, str, str]:
    status = f"{run.status} (needs attention)" if run.needs_attention else run.status
    return run_id, status, run.project, f"{run.cost.spent_usd:.2f} USD", " ".join(run.brief.split())


def _fitted(text: str, cells: int) -> str:
    """Return the text in exactly this many cells of the terminal, with an ellipsis if it is cut."""
    return set_cell_size(text, cells) if cell_len(text) <= cells else set_cell_size(text, max(cells - 1, 0)) + "…"


class ProgressReporter:
    """Reports the progress of a run, as text or as JSON lines."""

    def __init__(self, as_json: bool, sandbox_notice: str | None) -> None:
        self.as_json = as_json
        self.sandbox_notice = sandbox_notice
        self.status = Status("…", console=stderr)

    def report_event(self, event: Event) -> None:
        """Print an event of the run."""
        if self.as_json:
            print(_event.dump_json(event).decode(), flush=True)  # noqa: T201 - the output of the program
            return
        text = _describe_event(event)
        if text and event.kind in ("step.started", "order.progress"):
            self.status.update(text)
        if text and event.kind != "order.progress":
            stderr.print(f"[dim]{event.created_at:%H:%M:%S}[/] {text}")

    def report_start(self, run_id: UUID) -> None:
        """Print the id of the run, and the notice of the sandbox."""
        if not self.as_json:
            if self.sandbox_notice:
                stderr.print(self.sandbox_notice)
            stderr.print(f"run {run_id}")

    def report_stop(self, go_on: str) -> None:
        """Print that the run was left, and the command that goes on with it."""
        self.status.stop()
        stderr.print(f"Stopped. The run is kept. Go on with: {go_on}", markup=False, soft_wrap=True)

    def report_end(self, run: RunView, film: Path | None, seconds: float) -> None:
        """Print the result of the run."""
        if self.as_json:
            result = {"run": run.model_dump(mode="json"), "film": str(film) if film else None}
            print(json.dumps(result), flush=True)  # noqa: T201 - the output of the program
        elif run.error:
            stderr.print(f"[red]{run.error.code}[/]: {escape(run.error.message)}", soft_wrap=True)
        else:
            length, spent = run.artifacts["final_video"]["seconds"], run.cost.spent_usd
            currency = "USD of the sandbox's play money" if self.sandbox_notice else "USD"
            stderr.print(f"[green]completed[/] in {seconds:.0f} s: {length:.2f} s of film for {spent:.2f} {currency}")
            stdout.print(str(film), soft_wrap=True)


def _describe_event(event: Event) -> str | None:
    payload, is_of_order = event.payload, event.kind.startswith("order.")
    name = OrderKey.parse(event.subject or "").name if is_of_order else ""
    match event.kind:
        case "step.started":
            return f"[cyan]{payload['step']}[/]"
        case "order.reserved" if "publish_at" in payload:
            return f"  {name} is scheduled for {payload['publish_at']}"
        case "order.submitted":
            return f"  {name} is ordered ({payload['task_id']})"
        case "order.progress":
            return f"{name}: {payload['progress']:.0%}"
        case "order.settled":
            return f"  {name} is done"
        case "order.failed" | "order.refused":
            return f"  [red]{name} failed[/]: {escape(str(payload['message']))}"
        case "webhook.received":
            return f"  [dim]webhook {payload['type']}[/]"
    return None
