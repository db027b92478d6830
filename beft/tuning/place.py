"""Where `tune` works: in a folder of its own, or in a project, as one of its studies."""

from dataclasses import dataclass
from pathlib import Path

from beft.study.layout import Layout
from beft.study.study_files import FOLDER, SUFFIX

LOG = "log.txt"


@dataclass(frozen=True)
class Place:
    """The files of a call, in the folder of its params.yaml."""

    params: Path  # absolute
    study: str = ""  # the name of the study in a project; empty in a folder of its own

    @property
    def root(self) -> Path:
        return self.params.parent

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def named(self, what: str) -> str:
        """The name of a model or task, which no other study of the project has."""
        return f"{self.study}-{what}" if self.study else what

    @property
    def folder(self) -> Path:
        """Holds what no other command makes: rows, plan, and a study for each step."""
        return self.layout.folder("own") / self.study if self.study else self.root

    def rows(self, task: str) -> Path:
        """The folder of a task's rows."""
        return self.folder / "rows" / task

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def is_begun(self) -> bool:
        """Whether a call came so far that the next one goes on with it."""
        return (self.race if self.study else self.log).is_file()

    def step(self, name: str) -> Path:
        """The study of one step of the call."""
        return self.folder / FOLDER / f"{name}{SUFFIX}"

    @property
    def race(self) -> Path:
        """The study of a project that holds all runs of which the race may be."""
        return self.root / FOLDER / f"{self.study}{SUFFIX}"

    @property
    def last(self) -> Path:
        """The study of the choice, trained on all rows but the test's."""
        return self.root / FOLDER / f"{self.named('final')}{SUFFIX}"

    @property
    def log(self) -> Path:
        logs = self.root / "logs" / "tune"
        return logs / f"{self.study}.log" if self.study else self.root / LOG

    @property
    def lock(self) -> Path:
        return self.layout.work(f"tune-{self.study}" if self.study else "tune")


def beside(to: Path) -> Place:
    """A folder of its own, beside the adapter's."""
    target = to.resolve()  # where `.` has a name
    return Place(target.parent / f".{target.name}.work" / "params.yaml")
