"""`myloware projects`: the rules of projects. Imports what it needs when it is called."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runs.services import Services

MARKS = {"same": " ", "added": "+", "removed": "-"}

projects = typer.Typer(help="The rules of projects.", no_args_is_help=True)


@projects.command("rules")
def rules_command(
    name: Annotated[str, typer.Argument(help="The project.")],
    propose: Annotated[bool, typer.Option("--propose", help="Let the language model distil the new notes.")] = False,
    approve: Annotated[str, typer.Option(help="Approve the proposed rules, by the digest of their diff.")] = "",
    remove: Annotated[int | None, typer.Option(min=1, help="Remove the rule with this number.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the rules that new ideas of a project follow, and those that the model proposes; or change them."""
    from cli.display import print_result
    from cli.running import LOCAL_CONTEXT, call
    from runs import rules

    async def work(services: "Services") -> rules.RulesView:
        view = await rules.get_rules(services, name)
        change = {"action": "propose"} if propose else {"action": "approve", "digest": approve[:64]} if approve else {}
        if remove:
            change = {"action": "remove", "rule": dict(enumerate(view.rules, start=1)).get(remove, "")}
        if not change:
            return view
        return await rules.change_rules(services, name, rules.RulesChange.model_validate(change), LOCAL_CONTEXT)

    view = call(None, lambda services, _: work(services))
    lines = [f"New notes: {view.new_notes}", *(f"{number}. {rule}" for number, rule in enumerate(view.rules, start=1))]
    if view.digest:
        diff = [f"{MARKS[part.op]} {part.text}" for part in view.proposed or []]
        lines += ["Proposed:", *diff, f"Approve them with --approve {view.digest}"]
    print_result(view, as_json, lines)
