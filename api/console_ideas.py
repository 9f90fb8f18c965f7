"""The ideation page of the console: ideas that are edited in place, with their price, and the decision about them."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.authentication import AppStateDep
from api.console_session import PageRoute, SessionDep, error_page
from api.errors import ApiError, to_api_error
from api.wiring import AppState
from console import pages
from console.idea_form import LIMITS, IdeaForm
from console.sessions import Session
from graph.decisions import DecisionInput, Verdict
from providers.media.overlay import draw_preview
from providers.orders import digest_of
from runs.decide import MAX_COMMENT_CHARACTERS, check_approval_right, decide, quote_ideas
from runs.errors import GateNotOpen, InvalidRequest, RunError, StaleReview
from runs.reviews import RunReview, find_open_review
from runs.served_reviews import record_reviews
from storage.decisions import find_recorded

router = APIRouter(route_class=PageRoute, include_in_schema=False)

#: The verdict of each button that decides, by the first word of its value; the price that it carries is the second.
VERDICTS: dict[str, Verdict] = {"approve": "approve", "sample": "approve", "revise": "revise", "reject": "reject"}


@router.get("/runs/{run_id:uuid}/ideation")
async def show_ideas(run_id: UUID, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show the ideas that wait for a decision, with their price."""
    opened = await find_open_review(state.services, run_id, "ideation")
    return await _ideas_page(state, session, opened, IdeaForm.parse(opened.review.content))


@router.post("/runs/{run_id:uuid}/ideation")
async def decide_ideas(run_id: UUID, request: Request, state: AppStateDep, session: SessionDep) -> Response:
    """Decide about the ideas as they were typed, or show them and their price after a change of the cards."""
    check_approval_right(session.key.actor)
    fields = [(name, str(value)) for name, value in (await request.form()).multi_items()]
    # A form that is sent twice decides once.
    context = replace(session.context, idempotency_key=f"form:{digest_of([str(run_id), fields])}")
    part = request.headers.get("hx-target", "")
    # htmx adds the button that has the focus to a request for the price: it was not pressed, and must not decide.
    action = {"offer": "price"}.get(part, dict(fields).get("action", ""))
    try:
        opened = await find_open_review(state.services, run_id, "ideation")
        form = IdeaForm.parse(opened.review.content, fields)
        if form.digest != opened.review.digest:
            raise StaleReview(f"Revision {opened.review.revision} is open now, and nothing was decided. Review it.")
        if part or action.partition(" ")[0] not in VERDICTS:
            return await _ideas_page(state, session, opened, form.after(action), part)
        await decide(state.services, run_id, "ideation", await _decision(state, opened, form, action), context)
    except GateNotOpen as error:
        if not await find_recorded(state.services.db, run_id, context):
            return error_page(request, to_api_error(error), session, typed=fields)
    except (ApiError, RunError) as error:
        if part:
            raise
        problem, more = to_api_error(error), dict[str, Any]()
        opened = await find_open_review(state.services, run_id, "ideation")
        if form.digest != opened.review.digest:
            form, more = IdeaForm.parse(opened.review.content, [("comment", form.comment)]), {"typed": fields}
        page = await _ideas_page(state, session, opened, form, problem=problem, **more)
        page.status_code = problem.status
        return page
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.get("/overlay.png")
async def show_overlay(_session: SessionDep, text: Annotated[str, Query(max_length=LIMITS["overlay"])]) -> Response:
    """Return the text of an overlay as the film shows it, on a frame that is transparent elsewhere."""
    picture = await asyncio.to_thread(draw_preview, text)
    return Response(picture, 200, {"Cache-Control": "private, max-age=3600"}, "image/png")


async def _decision(state: AppState, opened: RunReview, form: IdeaForm, action: str) -> DecisionInput:
    """Return the decision of a button. Raises InvalidRequest, or ApiError if it costs other than the button says."""
    verb, _, price = action.partition(" ")
    verdict, sample = VERDICTS[verb], form.sample if verb == "sample" else []
    if verb == "sample" and not sample:
        raise InvalidRequest("Mark “Make first” at the clips to make first.", field="sample")
    if verdict == "approve":
        _, quote = await quote_ideas(state.services, opened.run, form.content, form.edits, sample)
        if price != f"{quote.usd:.4f}":
            raise ApiError(409, "price_changed", "Nothing was ordered: your edits have another price, shown below.")
    edits = None if verdict == "reject" or price == "unedited" else form.edits
    return DecisionInput(verdict=VERDICTS[verb], comment=form.comment, edits=edits, sample=sample, digest=form.digest)


async def _ideas_page(
    state: AppState, session: Session, opened: RunReview, form: IdeaForm, part: str = "", **more: Any
) -> HTMLResponse:
    """Return the page, or for htmx its `part`. `more` are the `problem` and the `typed` fields of a refused form."""
    await record_reviews(state.services.db, session.key.actor, opened.run.id, [vars(opened.review)])
    quote, sample, content, fault = None, None, form.content, "" if form.kept else "Keep at least one idea."
    if any(card.errors for card in form.kept):
        fault = "Correct the marked texts."
    try:
        if not fault:
            content, quote = await quote_ideas(state.services, opened.run, content, form.edits, [])
        if quote and form.sample:
            _, sample = await quote_ideas(state.services, opened.run, form.content, form.edits, form.sample)
    except RunError as error:
        fault = error.message
    more |= {"offered": content, "quote": quote, "sample": sample, "fault": fault, "is_part": part == "offer"}
    more |= {"opened": opened, "form": form, "limits": {**LIMITS, "comment": MAX_COMMENT_CHARACTERS}}
    template = "ideation_offer.html" if part == "offer" else "ideation.html"
    return HTMLResponse(pages.console_page(template, session, path="/inbox", **more))
