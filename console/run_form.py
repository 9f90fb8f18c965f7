"""The form that starts runs: a project with its options, one brief or one a line, a cap, and an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from storage.runs import RunRow


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
