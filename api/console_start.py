"""New runs in the console: one, one for each of several briefs, one like an earlier run, or a fork; and their rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from api.authentication import AppStateDep
from api.console_session import PageRoute, SessionDep
from api.errors import to_api_error
from api.schemas import ForkRequest, StartRunRequest, T
from api.wiring import AppState
from console.pages import console_page
from console.sessions import Session
from prompts.validation import describe_errors
from providers.base import ProviderError
from providers.orders import digest_of
from runs import costs, queries, reviews, rules, start
from runs.errors import InvalidRequest, RunError
from runs.uploads import store_upload
from storage.actors import RequestContext
from storage.runs import RunRow, list_films

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MAX_BRIEFS = 50


@dataclass(frozen=True)
class RunForm:
    """What was typed, by the name of the field. An option of a project is in `PROJECT.OPTION`."""

    typed: Mapping[str, str]

    @classmethod
    def like(cls, run: RunRow, **typed: str) -> Self:
        """Return a form that is filled in with what a run was started with."""
        options = {f"{run.project}.{name}": str(value) for name, value in run.options.items()}
        return cls({**typed, "project": run.project, "brief": run.brief, "image": run.image or "", **options})

    def __getitem__(self, name: str) -> str:
        """Return what was typed into a field; empty if there is none of this name."""
        return self.typed.get(name, "").replace("\r\n", "\n").strip()

    @property
    def briefs(self) -> dict[int, str]:
        """Return the briefs by the number of their line."""
        lines = enumerate(self["brief"].split("\n"), start=1) if self["lines"] else ()
        return {number: line.strip() for number, line in lines if line.strip()} or {1: self["brief"]}

    @property
    def options(self) -> dict[str, str]:
        """Return the options of the project that were typed."""
        names = [name for name in self.typed if self[name] and name.startswith(f"{self['project']}.")]
        return {name.partition(".")[2]: self[name] for name in names}


class RulesForm(rules.RulesChange):
    """The form of a change of rules."""

    csrf_token: str


@dataclass(frozen=True)
class BriefLine:
    """A brief with the number of its line, and the id of its run or why it is refused."""

    number: int
    brief: str
    run_id: UUID | None = None
    refusal: str = ""


@router.get("/new")
async def show_form(
    state: AppStateDep,
    session: SessionDep,
    like: Annotated[UUID | None, Query(alias="from")] = None,
    project: str = "",
    brief: str = "",
    budget_usd: str = "",
) -> HTMLResponse:
    """Show the form of a new run; `from` fills it in with what a run was started with, and the others a field each."""
    form = RunForm({"request": str(uuid4()), "project": project, "brief": brief, "budget_usd": budget_usd})
    if like:
        form = RunForm.like(await queries.get_kept_run(state.services.db, like), request=form["request"])
    return await _form_page(state, session, form)


@router.post("/new")
async def start_runs(request: Request, state: AppStateDep, session: SessionDep) -> Response:
    """Show the price of the runs; at the step `start`, start them; at the step `edit`, show the form again."""
    async with request.form() as sent:
        typed = {name: value for name, value in sent.items() if isinstance(value, str)}
        image = await file.read() if isinstance(file := sent.get("file"), UploadFile) else b""
    form, is_start = RunForm(typed), typed.get("step") == "start"
    try:
        if image:
            form = RunForm({**typed, "image": (await store_upload(state.services, image)).digest})
        if typed.get("step") == "edit":
            return await _form_page(state, session, form)
        body = _body(StartRunRequest, form, brief="-", image=form["image"] or None)
        spec = await start.check_project(state.services, body.project, body.options, body.image)
        cap_usd = start.run_cap(spec, body.budget_usd, session.key.actor)
        lines = await _each_brief(state, session, form, body, is_start=is_start)
    except (RunError, ProviderError) as error:
        return await _form_page(state, session, form, error)
    if is_start and len(lines) == 1:
        return RedirectResponse(f"/runs/{lines[0].run_id}", 303)
    more: dict[str, Any] = {"clips_usd": costs.clips_usd(state.services, spec), "cap_usd": cap_usd, "spec": spec}
    more |= {"form": form, "lines": lines, "is_started": is_start, "new_request": uuid4()}
    return HTMLResponse(console_page("new_runs.html", session, path="/runs", **more))


@router.get("/projects/{name}/rules")
async def show_rules(name: str, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show the rules of a project, and the diff of those that the model proposes."""
    view = await rules.get_rules(state.services, name)
    return HTMLResponse(console_page("rules.html", session, path="/runs", view=view))


@router.post("/projects/{name}/rules")
async def change_rules(
    name: str, state: AppStateDep, session: SessionDep, change: Annotated[RulesForm, Form()]
) -> Response:
    """Change the rules of a project."""
    await rules.change_rules(state.services, name, change, session.context)
    return RedirectResponse(f"/projects/{name}/rules", 303)


@router.get("/runs/{run_id:uuid}/actions/fork")
async def show_fork(run_id: UUID, state: AppStateDep, session: SessionDep) -> HTMLResponse:
    """Show what a fork of the run is, with the button that starts it."""
    source = await queries.get_kept_run(state.services.db, run_id)
    return await _form_page(state, session, RunForm.like(source, request=str(uuid4())), source=source)


@router.post("/runs/{run_id:uuid}/actions/fork")
async def fork_run(run_id: UUID, request: Request, state: AppStateDep, session: SessionDep) -> Response:
    """Fork the run."""
    form = RunForm({name: str(value) for name, value in (await request.form()).items()})
    try:
        body = _body(ForkRequest, form, revision=form["revision"] or None)
        run = await start.fork_run(state.services, run_id, **dict(body), context=_context(session, form))
    except RunError as error:
        source = await queries.get_kept_run(state.services.db, run_id)
        return await _form_page(state, session, form, error, source)
    return RedirectResponse(f"/runs/{run.id}", 303)


def _body(model: type[T], form: RunForm, **more: str | None) -> T:
    """Return the request of the API that the form has the fields of. Raises InvalidRequest."""
    common = {"project": form["project"] or None, "options": form.options, "budget_usd": form["budget_usd"] or None}
    try:
        return model(**common, **more)
    except ValidationError as error:
        faults = error.errors()
        raise InvalidRequest(f"{describe_errors(faults)}.", field=faults[0]["loc"][0]) from error


def _context(session: Session, form: RunForm, number: int = 1) -> RequestContext:
    """Return the context of the run of a line. A form that is sent twice starts each once."""
    key = digest_of([number, {**form.typed, "csrf_token": None}])
    return replace(session.context, idempotency_key=f"form:{key}")


async def _each_brief(
    state: AppState, session: Session, form: RunForm, body: StartRunRequest, *, is_start: bool
) -> list[BriefLine]:
    """Check each brief, or start its run. Raises InvalidRequest if there is only one, or too many."""
    if len(form.briefs) > MAX_BRIEFS:
        raise InvalidRequest(f"At most {MAX_BRIEFS} runs start at once, not {len(form.briefs)}.", field="brief")
    lines = list[BriefLine]()
    for number, brief in form.briefs.items():
        try:
            brief, run_id = start.checked_brief(brief), None
        except InvalidRequest as error:
            if len(form.briefs) == 1:
                raise
            lines.append(BriefLine(number, brief, refusal=error.message))
            continue
        if is_start:
            request = {**dict(body), "brief": brief}
            run_id = (await start.start_run(state.services, **request, context=_context(session, form, number))).id
        lines.append(BriefLine(number, brief, run_id))
    return lines


async def _form_page(
    state: AppState, session: Session, form: RunForm, error: Exception | None = None, source: RunRow | None = None
) -> HTMLResponse:
    """Return the page of the form, or of that which forks `source`."""
    problem = to_api_error(error) if error else None
    found = await reviews.list_reviews(state.services, source.id) if source else []
    more: dict[str, Any] = {
        "projects": costs.list_projects(state.services),
        "films": await list_films(state.services.db),
    }
    more |= {"form": form, "problem": problem, "field": getattr(error, "details", {}).get("field"), "source": source}
    more["revisions"] = [str(each.revision) for each in found if each.gate == "ideation"]
    content = console_page("new.html", session, path="/runs", **more)
    return HTMLResponse(content, problem.status if problem else 200)
