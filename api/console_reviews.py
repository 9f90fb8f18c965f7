"""The pages that decide a review: what a browser sends of ideas or a film, its price, and the decision about it."""

import asyncio
from dataclasses import dataclass, replace
from typing import Annotated, Any, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.authentication import AppStateDep
from api.console_session import PageRoute, SessionDep, error_page
from api.errors import ApiError, to_api_error
from api.wiring import AppState
from chat.confirmations import OUTCOMES
from console import pages
from console.review_forms import FILM_LIMITS, LIMITS, Fields, FilmForm, IdeaForm
from console.sessions import Session
from graph.decisions import DecisionInput, Gate, Verdict
from graph.review_content import IdeasContent
from providers.media.overlay import draw_preview
from providers.orders import digest_of
from runs import links, reviews
from runs.decide import MAX_COMMENT_CHARACTERS, check_approval_right, decide, quote, quote_decision
from runs.errors import RunError, StaleReview
from runs.reviews import RunReview
from storage.actors import RequestContext
from storage.decisions import find_recorded
from storage.reviews import record_served

router = APIRouter(route_class=PageRoute, include_in_schema=False)

#: The verdict of each button that decides, by the first word of its value; the price that it carries is the second.
VERDICTS: dict[str, Verdict] = {name: name for name in get_args(Verdict)} | {"sample": "approve", "unedited": "revise"}


NO_RUN = UUID(int=0)


@dataclass(frozen=True)
class ReviewPage:
    """The page of the review that this gate of a run has open, in a session; or that the link with this token opens."""

    state: AppState
    run_id: UUID = NO_RUN
    gate: Gate = "ideation"
    session: Session | None = None
    token: str = ""

    async def respond(self, request: Request) -> Response:
        """Return the page; for a POST what a button of its form does. Raises as `find_open_review` or `open_link`."""
        if request.method == "GET":
            opened = await self._open()
            if known := request.query_params.get("open"):  # the page checks that its review is still open
                return Response(None, 204 if known == opened.review.digest else 409)
            return await self._render(opened, await self._parse(opened, ()))
        fields = [(name, str(value)) for name, value in (await request.form()).multi_items()]
        part = request.headers.get("hx-target", "")
        if part == "offer":  # htmx adds the button that has the focus: it was not pressed, and must not decide
            fields = [field for field in fields if field[0] != "action"]
        # A form that is sent twice decides once.
        key = f"form:{digest_of([str(self.run_id), fields])}"
        context = replace(self.session.context, idempotency_key=key) if self.session else None
        action = dict(fields).get("action", "")
        try:
            opened = await self._open()
            form = await self._parse(opened, fields)
            if form.digest != opened.review.digest:
                raise StaleReview(f"Revision {opened.review.revision} is open now, and nothing was decided. Review it.")
            if part or action.partition(" ")[0] not in VERDICTS:
                more = await self._invite() if action == "invite" and not part else {}
                return await self._render(opened, form, part, **more)
            return await self._decide(opened, await self._decision(opened, form, action), context)
        except (ApiError, RunError) as error:
            if context and await find_recorded(self.state.services.db, self.run_id, context):
                return RedirectResponse(f"/runs/{self.run_id}", 303)
            if part:
                raise
            return await self._refuse(request, fields, to_api_error(error))

    async def _open(self) -> RunReview:
        if self.token:
            return await links.open_link(self.state.services, self.token)
        return await reviews.find_open_review(self.state.services, self.run_id, self.gate)

    async def _invite(self) -> dict[str, Any]:
        """Return a new reviewer's link and its end, for a page of the console. Raises as `create_link`."""
        if not self.session:
            return {}
        db, base_url = self.state.services.db, self.state.base_url
        url, link = await links.create_link(db, self.run_id, self.gate, base_url, context=self.session.context)
        return {"invited": url, "expires_at": link.expires_at}

    async def _parse(self, opened: RunReview, fields: Fields) -> IdeaForm | FilmForm:
        """Return the form after the action of its button; without fields, with the texts of the review."""
        content = opened.review.content
        if isinstance(content, IdeasContent):
            return IdeaForm.parse(content, fields).after(dict(fields).get("action", ""))
        parts = await reviews.read_film_parts(self.state.services.ledger, opened.run.id, content)
        return FilmForm.parse(content, parts, fields)

    async def _decision(self, opened: RunReview, form: IdeaForm | FilmForm, action: str) -> DecisionInput:
        """Return the decision of a button. Raises as `decide`, and ApiError if it costs other than the button has."""
        verb, _, price = action.partition(" ")
        decision = form.decision(VERDICTS[verb], verb)
        _, price_now = await quote_decision(self.state.services, opened.run, opened.review.content, decision)
        if f"{price_now.usd:.4f}" != (price or "0.0000"):
            raise ApiError(409, "price_changed", "Nothing was ordered: your changes have another price, shown below.")
        return decision

    async def _decide(self, opened: RunReview, decision: DecisionInput, context: RequestContext | None) -> Response:
        """Record the decision, and return the response to it."""
        if context:
            await decide(self.state.services, self.run_id, self.gate, decision, context)
            return RedirectResponse(f"/runs/{self.run_id}", 303)
        await links.decide_by_link(self.state.services, self.token, decision)
        return HTMLResponse(pages.message_page(decision.verdict, describe_outcome(opened.review.gate, decision)))

    async def _refuse(self, request: Request, fields: Fields, problem: ApiError) -> Response:
        """Return the page with the problem and what was typed; without an open review, the problem of that."""
        try:
            opened = await self._open()
        except RunError as error:
            return error_page(request, to_api_error(error), self.session, typed=fields)
        form, more = await self._parse(opened, fields), dict[str, Any]()
        if form.digest != opened.review.digest:
            kept = [("comment", dict(fields).get("comment", ""))]
            form, more = await self._parse(opened, kept), {"typed": fields}
        page = await self._render(opened, form, problem=problem, **more)
        page.status_code = problem.status
        return page

    async def _render(self, opened: RunReview, form: IdeaForm | FilmForm, part: str = "", **more: Any) -> HTMLResponse:
        """Return the page, or for htmx its `part`. `more` are the `problem` and `typed` fields of a refused form."""
        if self.session:
            actor = self.session.key.actor
            await record_served(self.state.services.db, actor, opened.run.id, [vars(opened.review)])
        if isinstance(form, IdeaForm):
            more |= await self._offer(opened, form)
        else:
            more |= {"quote": await quote(self.state.services, opened.run.id, form.redo), "limits": FILM_LIMITS}
        more |= {"address": f"/review/{self.token}" if self.token else f"/runs/{self.run_id}/{self.gate}"}
        more |= {"can_decide": not self.session or self.session.key.actor.can_approve}
        more |= {"changes": pages.shown_changes(opened.review.changes)}
        more |= {"opened": opened, "form": form, "is_part": part == "offer", "comment_limit": MAX_COMMENT_CHARACTERS}
        template = f"{opened.review.gate}{'_offer' if part == 'offer' else ''}.html"
        return HTMLResponse(pages.console_page(template, self.session, path="/inbox", **more))

    async def _offer(self, opened: RunReview, form: IdeaForm) -> dict[str, Any]:
        """Return the price of the ideas, and of the sample, or what is wrong with them."""
        services, ideas, fault = self.state.services, form.content, form.fault
        offer: dict[str, Any] = {"offered": ideas, "quote": None, "sample": None, "limits": LIMITS}
        try:
            if not fault:
                approved = form.decision("approve", "approve")
                offer["offered"], offer["quote"] = await quote_decision(services, opened.run, ideas, approved)
            if not fault and form.sample:
                approved = form.decision("approve", "sample")
                _, offer["sample"] = await quote_decision(services, opened.run, ideas, approved)
        except RunError as error:
            fault = error.message
        return {**offer, "fault": fault}


@router.api_route("/runs/{run_id:uuid}/{gate}", methods=["GET", "POST"])
async def review_run(run_id: UUID, gate: Gate, request: Request, state: AppStateDep, session: SessionDep) -> Response:
    """Show the ideas or the film that wait for a decision, and decide about them as they were typed."""
    if request.method == "POST":
        check_approval_right(session.key.actor)
    return await ReviewPage(state, run_id, gate, session).respond(request)


@router.get("/overlay.png")
async def show_overlay(_session: SessionDep, text: Annotated[str, Query(max_length=LIMITS["overlay"])]) -> Response:
    """Return the text of an overlay as the film shows it, on a frame that is transparent elsewhere."""
    picture = await asyncio.to_thread(draw_preview, text)
    return Response(picture, 200, {"Cache-Control": "private, max-age=3600"}, "image/png")


def describe_outcome(gate: Gate, decision: DecisionInput) -> str:
    """Return the thanks for a decision by a link, with its outcome."""
    if decision.verdict == "revise" and gate == "publish" and not decision.clips:
        return "Thank you: your request was sent. What costs money is shown to the owner with its price first."
    scheduled = f"the film is scheduled for {decision.publish_at}." if decision.publish_at else None
    return f"Thank you: {scheduled or OUTCOMES[decision.verdict][gate].partition(': ')[2]}"
