"""Sign the films of an earlier version that are at an open publish gate."""

from contextlib import suppress
from uuid import UUID

from graph.decisions import DecisionInput
from providers.base import Json
from runs.decide import decide
from runs.errors import RunError
from runs.services import Services
from storage.actors import Actor, RequestContext

ACTOR = Actor("upgrade", "upgrade", "upgrade: films are signed", frozenset({"approve"}))
UPGRADE = RequestContext(ACTOR, "upgrade", idempotency_key="signature")  # one for each run


async def request_signature(services: Services, run_id: UUID, payload: Json) -> bool:
    """Request another render, which signs the film, if the run shows an unsigned film at its publish gate.

    `payload` is that of its interrupt. The request is a decision about the review, in the same takes: no model
    reads it, nothing is charged, and the gate opens again with the new film. Return whether it was recorded now.
    """
    if not services.signs_films or payload.get("gate") != "publish" or "c2pa" in payload["content"]["film"]:
        return False
    takes = {clip["clip"]: clip["take"] for clip in payload["content"]["clips"]}
    decision = DecisionInput(verdict="revise", takes=takes, digest=payload["digest"])
    with suppress(RunError):  # a person decided first
        return bool((await decide(services, run_id, "publish", decision, UPGRADE)).revision == payload["revision"])
    return False
