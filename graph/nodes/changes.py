"""From a request for changes to the work that it needs.

Words order nothing: clips that a comment asks for again are offered at the ideation gate with their price. Only the
`clips` of the request itself are ordered at once.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal

from agents.roles import RequestedChange, read_comment
from graph.decisions import GateDecision
from graph.dependencies import Dependencies
from graph.review_content import ideas_of, used_ideas, with_overlays
from graph.state import ChangeRequest, ChangeResult, ChangeStep, ChangeTarget, Clip, IdeasState, Route, RunState
from providers.media.text_layout import require_drawable
from providers.orders import OrderKey

#: The node that works on each target. Clips are ordered only if the request names them.
NODE_OF_TARGET: dict[ChangeTarget, Route] = {
    "ideas": "ideator",
    "clips": "plan_clips",
    "caption": "write_caption",
    "render": "order_render",
    "review": "publish_gate",
}
PRICE_FIRST = "It is not ordered before its price is approved."
NEW_IDEAS = "There are new ideas."


def change_update(target: ChangeTarget, comment: str = "", clips: Sequence[int] = ()) -> RunState:
    """Return the update that starts the work on the target."""
    route: Route = "ideation_gate" if target == "clips" and not clips else NODE_OF_TARGET[target]
    return {"route": route, "change": {"target": target, "clips": list(clips), "comment": comment}}


async def requested_work(state: RunState, decision: GateDecision, deps: Dependencies) -> RunState:
    """Return the update that starts the work which the decision requests, or shows that there is none."""
    if not _has_film(state):
        return {"requested": [], **change_update("ideas", decision.comment)}
    clips = {**state["clips"], **await _chosen_takes(state, decision.takes, deps)}
    if decision.clips:
        return {
            "clips": clips,
            "requested": [
                _result(note.comment or decision.comment or f"Clip {note.clip} again", "clips", [note.clip])
                for note in decision.clips
            ],
            **change_update("clips", decision.comment, [note.clip for note in decision.clips]),
        }
    requested = await _read_comment(state, decision, deps) if decision.comment else []
    # A render costs nothing, and the last one may not have the texts that changed since.
    is_edited = bool({"clips", "music"}.intersection(decision.edited))
    needs_render = bool(decision.takes) or is_edited or state["gate"] == "ideation"
    return {"clips": clips, **_work_on(requested, decision.comment, state, needs_render=needs_render)}


def mark_done(state: RunState, step: ChangeStep, clips: Collection[int] | None = None) -> RunState:
    """Return the update that marks the requested changes of this step as done, if `clips` contains all of theirs."""
    return {
        "requested": [
            {**each, "outcome": "done", "reason": ""}
            if each["step"] == step and (clips is None or set(each["clips"]) <= set(clips))
            else each
            for each in state.get("requested", [])
        ]
    }


def _has_film(state: RunState) -> bool:
    """Return whether there is a film of the present ideas."""
    return "film" in state and all(str(number) in state["clips"] for number, _ in used_ideas(state))


async def _chosen_takes(state: RunState, takes: dict[int, int], deps: Dependencies) -> dict[str, Clip]:
    """Return the clips in the takes that the reviewer chose."""
    keys = {number: state["made"][str(number)][str(take)] for number, take in takes.items()}
    statuses = await deps.ledger.statuses(list(keys.values()))
    return {str(n): Clip(take=takes[n], digest=statuses[key].result["digest"]) for n, key in keys.items()}


async def _read_comment(state: RunState, decision: GateDecision, deps: Dependencies) -> list[RequestedChange]:
    """Return the changes that the model reads from the comment, those of clips the film does not have as impossible."""
    key = OrderKey(state["run_id"], "changes", decision.number)
    answer = await deps.ledger.cached_answer(key, lambda: read_comment(deps.model, ideas_of(state), decision.comment))
    numbers = [number for number, _ in used_ideas(state)]
    return [_possible(RequestedChange.model_validate(change), numbers) for change in answer["changes"]]


def _possible(change: RequestedChange, numbers: Sequence[int]) -> RequestedChange:
    """Return a change of clips with those that the film has; as impossible without any, or with unsuitable text."""
    if change.step not in ("clips", "overlay"):
        return change
    clips = [number for number in numbers if number in change.clips]
    reason = f"Name a clip of the film by its number: {', '.join(map(str, numbers))}."
    if clips:
        try:
            overlay = require_drawable(change.overlay) if change.step == "overlay" else ""
            return change.model_copy(update={"clips": clips, "overlay": overlay})
        except ValueError as error:
            reason = f"It is not possible: {error}."
    return change.model_copy(update={"step": "impossible", "clips": [], "reason": reason})


def _work_on(changes: Sequence[RequestedChange], comment: str, state: RunState, *, needs_render: bool) -> RunState:
    """Return the update that starts the work on these changes: on ideas, else on clips, texts and the caption."""

    def of(step: ChangeStep) -> list[RequestedChange]:
        return [change for change in changes if change.step == step]

    target = _target({change.step for change in changes}, needs_render=needs_render)
    overlays = {number: change.overlay for change in of("overlay") for number in change.clips}
    notes = {str(number): change.text for change in of("clips") for number in change.clips}
    ideas = with_overlays(state["ideas"], overlays)
    if target == "clips":
        ideas = _offered_again(ideas, sorted(map(int, notes)))
    update = change_update(target, comment)
    caption = " ".join(change.text for change in of("caption"))
    change: ChangeRequest = {**update["change"], "notes": notes, "caption": caption}
    requested = [_result(each.text, each.step, each.clips, _reason(each, target)) for each in changes]
    return {**update, "change": change, "ideas": ideas, "requested": requested}


def _target(steps: Collection[ChangeStep], *, needs_render: bool) -> ChangeTarget:
    """Return the first work of those that the steps need; the rest of the way does the others."""
    if "ideas" in steps:
        return "ideas"
    if "clips" in steps:
        return "clips"
    if "overlay" in steps or needs_render:
        return "render"
    return "caption" if "caption" in steps else "review"


def _reason(change: RequestedChange, target: ChangeTarget) -> str:
    """Return why the change is not done at first."""
    if target == "ideas" and change.step in ("clips", "overlay"):
        return NEW_IDEAS
    return {"clips": PRICE_FIRST, "impossible": change.reason}.get(change.step, "")


def _offered_again(ideas: IdeasState, clips: Sequence[int]) -> IdeasState:
    """Return the ideas with the offer to generate these clips again."""
    *first, last = map(str, clips)
    numbers = f"clips {', '.join(first)} and {last}" if first else f"clip {last}"
    notice = f"Redo {numbers}: {Decimal(ideas['usd_per_clip']) * len(clips):.2f} USD."
    return {**ideas, "make": list(clips), "notice": notice}


def _result(text: str, step: ChangeStep, clips: Sequence[int], reason: str = "") -> ChangeResult:
    result: ChangeResult = {"text": text, "step": step, "clips": list(clips), "outcome": "not_done", "reason": reason}
    match step:
        case "keep":
            result["outcome"] = "done"
        case "impossible":
            result["outcome"] = "not_possible"
    return result
