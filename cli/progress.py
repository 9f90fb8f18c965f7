"""Report the progress of a run in the terminal."""

import json
from pathlib import Path
from uuid import UUID

from pydantic import TypeAdapter
from rich.markup import escape
from rich.status import Status

from cli.output import stderr, stdout
from providers.orders import OrderKey
from runs.queries import RunView
from storage.events import Event

_event = TypeAdapter(Event)


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
        if text and event.kind == "order.progress":
            self.status.update(text)
        elif text:
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
    payload = event.payload
    match event.kind:
        case "step.started":
            return f"[cyan]{payload['step']}[/]"
        case "order.submitted":
            return f"  {_order_name(event)} is ordered ({payload['task_id']})"
        case "order.progress":
            return f"{_order_name(event)}: {payload['progress']:.0%}"
        case "order.settled":
            return f"  {_order_name(event)} is done"
        case "order.failed" | "order.refused":
            return f"  [red]{_order_name(event)} failed[/]: {escape(str(payload['message']))}"
        case "webhook.received":
            return f"  [dim]webhook {payload['type']}[/]"
    return None


def _order_name(event: Event) -> str:
    """Return the name of the order that the event is about; empty for a model call."""
    key = OrderKey.parse(event.subject or "")
    return {"clip": f"clip {key.number}", "render": "the film", "publication": "the publication"}.get(key.kind, "")
