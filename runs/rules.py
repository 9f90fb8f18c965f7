"""What a project learns: the model distils the notes of people into rules, and a person approves them as a diff.

No rule enters a prompt of a run before that: the ideator reads the approved ones only.
"""

from datetime import UTC, datetime
from difflib import ndiff
from typing import Literal

from langgraph.store.base import BaseStore
from pydantic import BaseModel, Field

from agents.roles import distil_rules
from graph.rules import StoredRules, read_rules, rules_namespace
from providers.orders import digest_of
from runs.decide import check_approval_right
from runs.errors import InvalidRequest, ProjectNotFound, RulesChanged
from runs.reviews import DiffPart
from runs.services import Services
from storage.actors import RequestContext
from storage.decisions import list_notes
from storage.events import record_event
from storage.locks import LockBusy

_OPS: dict[str, Literal["same", "added", "removed"]] = {" ": "same", "+": "added", "-": "removed"}


class RulesChange(BaseModel, extra="forbid"):
    """A change of the rules of a project.

    `propose` lets the model distil the new notes; `approve` and `dismiss` decide about the proposal whose diff has this
    `digest`; `remove` ends an approved `rule`, given by its text.
    """

    action: Literal["propose", "approve", "dismiss", "remove"]
    digest: str = Field("", max_length=64)
    rule: str = Field("", max_length=200)


class RulesView(StoredRules):
    """The approved rules of a project, and the diff of the proposal, if there is one, with the digest that decides it.

    `new_notes` counts the notes that no rule was distilled from.
    """

    project: str
    proposed: list[DiffPart] | None = None
    digest: str | None = None
    new_notes: int


async def get_rules(services: Services, project: str) -> RulesView:
    """Return the rules of a project. Raises ProjectNotFound."""
    approved, proposed = await _read(services, project)
    notes = await list_notes(services.db, project, (proposed or approved).through)
    view = RulesView(**vars(approved), project=project, new_notes=len(notes))
    if proposed is None:
        return view
    lines = [line for line in ndiff(approved.rules, proposed.rules) if line[0] in _OPS]
    diff = [DiffPart(op=_OPS[line[0]], text=line[2:]) for line in lines]
    return view.model_copy(update={"proposed": diff, "digest": _digest(approved, proposed)})


async def change_rules(services: Services, project: str, change: RulesChange, context: RequestContext) -> RulesView:
    """Change the rules of a project and return them.

    Raises ProjectNotFound, ApprovalNotPermitted, InvalidRequest without a new note, RulesChanged if the rules are not
    those that were shown, and for a proposal as `distil_rules`, or Refused if a cap leaves less than it may cost.
    """
    check_approval_right(context.actor, ", which rules of a project require.")
    try:
        async with services.locks.hold(f"rules:{project}"):
            await _change(services, project, change, context)
    except LockBusy as error:
        raise RulesChanged("The rules are being changed. Read them again in a moment.") from error
    return await get_rules(services, project)


async def _change(services: Services, project: str, change: RulesChange, context: RequestContext) -> None:
    approved, proposed = await _read(services, project)
    match change.action:
        case "propose":
            await _put(services, project, "proposed", await _propose(services, project, approved), context)
        case "remove" if change.rule in approved.rules:
            await _put(services, project, "approved", approved.without(change.rule), context)
            if proposed:
                await _put(services, project, "proposed", proposed.without(change.rule), context)
        case "approve" | "dismiss" if proposed and change.digest == _digest(approved, proposed):
            kept = proposed if change.action == "approve" else approved.model_copy(update={"through": proposed.through})
            await _put(services, project, "approved", kept, context)
            await _store(services).adelete(rules_namespace(project), "proposed")
        case _:
            raise RulesChanged("The rules are not those that were shown. Read them again.")


async def _propose(services: Services, project: str, approved: StoredRules) -> StoredRules:
    """Let the model distil the notes since the last decision. It has no run, so it counts as a call of the chat."""
    rows = await list_notes(services.db, project, approved.through)
    if not rows or services.model is None:
        raise InvalidRequest(f"There are no notes on films of {project} since its rules were decided.")
    async with services.ledger.chat_call(sum(len(note.encode()) for _, note in rows) // 3) as record:
        answer = await distil_rules(
            services.model, services.projects[project], approved.rules, [note for _, note in rows]
        )
        await record(answer.input_tokens, answer.output_tokens)
    rules = dict.fromkeys(" ".join(rule.split()) for rule in answer.value.rules)
    return StoredRules(rules=list(rules), through=rows[0][0])


async def _read(services: Services, project: str) -> tuple[StoredRules, StoredRules | None]:
    """Return the approved and the proposed rules. Raises ProjectNotFound."""
    if project not in services.projects:
        raise ProjectNotFound(f"Project {project!r} not found. Projects: {', '.join(sorted(services.projects))}.")
    store = _store(services)
    return await read_rules(store, project) or StoredRules(), await read_rules(store, project, "proposed")


async def _put(services: Services, project: str, kind: str, rules: StoredRules, context: RequestContext) -> None:
    """Store these rules, after an entry in the audit log."""
    update = {"actor": context.actor.name, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    stored = rules.model_copy(update=update).model_dump()
    payload = {**stored, "actor": context.actor.as_json()}
    async with services.db.transaction() as conn:
        await record_event(conn, context.channel, f"rules.{kind}", None, payload, subject=project)
    await _store(services).aput(rules_namespace(project), kind, stored)


def _store(services: Services) -> BaseStore:
    assert services.run_graph.store is not None  # noqa: S101 - `wiring.py` compiles the graph with one
    return services.run_graph.store


def _digest(approved: StoredRules, proposed: StoredRules) -> str:
    """Return the digest of a diff: an approval counts for these rules in the place of those."""
    return digest_of([approved.rules, proposed.rules])
