"""The C2PA mark of a film is read again before its publication is ordered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graph.graph import build_run_graph
from graph.nodes.orders import StepFailed
from providers.film_mark import Provenance
from tests.graph.fakes import PROJECT, RunHarness

MARK = {"signed_by": "Signer", "development": False, "source_type": "trainedAlgorithmicMedia"}
VALID = Provenance(**MARK, valid=True, problems=[], ingredients=[])
CHANGED = Provenance(**MARK, valid=False, problems=["assertion.bmffHash.mismatch"], ingredients=[])


def marked(found: Provenance | None, disclosure: str = "required") -> RunHarness:
    """A run whose stored films have this manifest."""

    async def read_mark(_: str) -> Provenance | None:
        return found

    run = RunHarness(PROJECT.model_copy(update={"disclosure": disclosure}))
    run.deps = replace(run.deps, read_mark=read_mark)
    run.graph = build_run_graph(run.deps).compile(checkpointer=run.saver)
    return run


async def render(run: RunHarness, **facts: object) -> None:
    """Let the open render end with these facts."""
    [key] = run.ledger.open_keys()
    run.ledger.settle(key, **facts)
    await run.answer({"over": [key]})


async def to_gate(run: RunHarness, **facts: object) -> None:
    await run.start()
    await run.answer({"verdict": "approve", "number": 1})
    await run.settle_orders()
    await render(run, **facts)


@pytest.mark.parametrize(
    ("found", "code", "reason"),
    [
        (CHANGED, "film_mark_invalid", "does not hold (assertion.bmffHash.mismatch)"),
        (None, "film_not_marked", "is missing"),
    ],
    ids=["a changed byte", "no manifest"],
)
async def test_a_film_whose_mark_does_not_hold_is_not_posted(found: Provenance | None, code: str, reason: str) -> None:
    """The step fails with the reason, again at a retry; a project that does not require the mark posts the film."""
    run, free = marked(found), marked(found, "optional")
    for each in (run, free):
        await to_gate(each, c2pa=MARK)
    for _ in range(2):
        with pytest.raises(StepFailed, match="Nothing was posted") as failed:
            await (run.answer({"verdict": "approve", "number": 2}) if await run.pending() else run.resume())
        assert (failed.value.code, reason in failed.value.message) == (code, True)
    await free.answer({"verdict": "approve", "number": 2})

    assert run.ledger.orders_of("publication") == []
    assert len(free.ledger.orders_of("publication")) == 1


async def test_an_unsigned_film_is_rendered_again_once() -> None:
    """If the second one has no mark either, the renderer signs none: it is refused instead of rendered for ever."""
    run = marked(None)
    await to_gate(run)
    assert (await run.answer({"verdict": "approve", "number": 2}))["waiting_for"] == "render"
    await render(run)
    assert (await run.pending())["gate"] == "publish"
    with pytest.raises(StepFailed) as failed:
        await run.answer({"verdict": "approve", "number": 3})

    assert failed.value.code == "film_not_marked"
    assert (len(run.ledger.orders_of("render")), run.ledger.orders_of("publication")) == (2, [])


async def test_a_valid_mark_is_posted() -> None:
    run = marked(VALID)
    await to_gate(run, c2pa=MARK)

    assert (await run.answer({"verdict": "approve", "number": 2}))["waiting_for"] == "publication"
