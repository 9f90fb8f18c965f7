"""`myloware make`: the whole job in one terminal, with live progress, asking at the gates."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import typer
from rich.prompt import Prompt
from rich.status import Status

from api.settings import Settings
from cli.local_services import sandboxed_services
from cli.output import err, fail, ideas_table, out
from cli.runs import BY, CHANNEL
from cli.serve import listen_on_free_port, open_services, run_server, url_of
from graph.review_content import describe_clips
from graph.status import TERMINAL_STATUSES
from runs import queries
from runs.decide import decide, verdict_of
from runs.errors import RunError
from runs.services import Services
from runs.start import start_run
from storage.events import list_events

TICK = 0.2


async def make(settings: Settings, brief: str, project: str, *, yes: bool, as_json: bool) -> None:
    """Make a film from `brief`. Ends with status 1 if the run fails."""
    began = time.monotonic()
    listening = listen_on_free_port()
    teller = ProgressReporter(as_json, sandboxed_services(settings))
    with teller.status:
        teller.say("Starting the database" + (" and the sandbox" if sandboxed_services(settings) else ""))
        async with (
            open_services(settings, webhooks_to=url_of(listening), with_worker=True) as parts,
            # Providers call back here, as they would call a server of ours anywhere.
            run_server(parts, listening),
        ):
            try:
                run = await _one_run(parts.services, teller, brief, project, yes=yes)
                film = await _laid_out(parts.services, run, settings.data_dir.absolute() / "films")
            except RunError as error:
                fail(error.message)
    teller.end(run, film, time.monotonic() - began)
    if run["status"] != "completed":
        raise typer.Exit(1)


class ProgressReporter:
    """Tells what happens, to a person or to a program."""

    def __init__(self, as_json: bool, sandboxed: list[str]) -> None:
        self.as_json = as_json
        self.sandboxed = sandboxed
        self.status = Status("…", console=err)

    def say(self, what: str) -> None:
        """What is going on right now."""
        self.status.update(what)

    def event(self, event: dict[str, Any]) -> None:
        """One event of the run."""
        if self.as_json:
            print(json.dumps(event, default=str), flush=True)  # noqa: T201 - this is the program's output
            return
        said = _in_words(event)
        if said and event["kind"] == "order.progress":
            self.say(said)
        elif said:
            err.print(f"[dim]{event['created_at']:%H:%M:%S}[/] {said}")

    def end(self, run: dict[str, Any], film: Path | None, seconds: float) -> None:
        """How it ended."""
        if self.as_json:
            print(json.dumps({"run": run, "film": str(film) if film else None}), flush=True)  # noqa: T201
            return
        if run["status"] != "completed":
            err.print(f"[red]{run['error']['code']}[/]: {run['error']['message']}", soft_wrap=True)
            return
        facts = run["artifacts"]["final_video"]
        err.print(
            f"[green]completed[/] in {seconds:.0f} s: {facts['seconds']:.2f} s of film for "
            f"{run['cost']['spent_usd']:.2f} USD" + (" of the sandbox's play money" if self.sandboxed else "")
        )
        out.print(str(film), soft_wrap=True)


async def _one_run(
    services: Services, teller: ProgressReporter, brief: str, project: str, *, yes: bool
) -> dict[str, Any]:
    if teller.sandboxed and not teller.as_json:
        err.print(f"[yellow]SANDBOX[/] stands in for {', '.join(teller.sandboxed)}: nothing real is bought or posted.")
    run_id = (await start_run(services, project=project, brief=brief, started_by=BY, channel=CHANNEL))["id"]
    told = 0
    while True:
        run = await queries.get_run_view(services, run_id)
        for event in await list_events(services.db, run_id, after=told):
            told = event["seq"]
            teller.event(dict(event))
        if run["status"] in TERMINAL_STATUSES:
            return run
        if run["review"]:
            await _decide(services, run_id, run["review"], teller, yes=yes)
        await asyncio.sleep(TICK)


async def _decide(
    services: Services, run_id: UUID, review: dict[str, Any], teller: ProgressReporter, *, yes: bool
) -> None:
    answer = "yes"
    if not teller.as_json:
        teller.status.stop()
        _show(review)
        if yes:
            err.print("approved, as [bold]--yes[/] says")
        else:
            question = "Approve? [bold]yes[/], [bold]no[/], or what should change"
            answer = await asyncio.to_thread(Prompt.ask, question, console=err)
        teller.status.start()
    approved = answer.strip().lower() in ("yes", "y")
    comment = None if approved or answer.strip().lower() in ("no", "n") else answer
    await decide(
        services,
        run_id,
        review["gate"],
        verdict=verdict_of(approved, comment),
        comment=comment,
        digest=review["digest"],
        decided_by=BY,
        channel=CHANNEL,
    )


def _show(review: dict[str, Any]) -> None:
    content = review["content"]
    if review["gate"] == "ideation":
        err.print(ideas_table(content))
        price = f"Making {len(content['make'])} clips costs [bold]{content['estimated_usd']} USD[/]."
        err.print(f"{price} {describe_clips(content)}", soft_wrap=True)
        return
    err.print(
        f"[bold]{content['title']}[/], {content['film']['seconds']:.2f} s, for {', '.join(content['platforms'])}:"
    )
    err.print(f"  {content['caption']}\n  {' '.join(content['hashtags'])}")


def _in_words(event: dict[str, Any]) -> str | None:
    said, (_, kind, number) = event["payload"], ((event["subject"] or "") + "::").split(":")[:3]
    what = {"clip": f"clip {number}", "render": "the film", "publication": "the publication"}.get(kind, "")
    match event["kind"]:
        case "step.started":
            return f"[cyan]{said['step']}[/]"
        case "order.submitted":
            return f"  {what} is ordered ({said['task_id']})"
        case "order.progress":
            return f"{what}: {said['progress']:.0%}"
        case "order.settled":
            return f"  {what} is done"
        case "order.failed" | "order.refused":
            return f"  [red]{what} failed[/]: {said['message']}"
        case "webhook.received":
            return f"  [dim]webhook {said['type']}[/]"
    return None


async def _laid_out(services: Services, run: dict[str, Any], folder: Path) -> Path | None:
    """The film under a name that says what it is."""
    film = run["artifacts"].get("final_video")
    if film is None or run["status"] != "completed":
        return None
    title = re.sub(r"[^a-z0-9]+", "-", run["artifacts"]["ideas"]["title"].lower()).strip("-")[:40]
    path = folder / f"{title or run['project']}-{run['run_id'][:8]}.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(shutil.copyfile, await services.artifacts.local_path(film["digest"]), path)
    return path
