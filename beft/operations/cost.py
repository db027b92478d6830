"""Estimate the time of runs: their work, and the speed of the hardware on finished runs.

Work is measured in FLOP and counts products with the parameters of the layers: per parameter and
token 2 FLOP forward, 2 backward to activations, and 2 backward to weights where weights are
trained. It leaves out embeddings, attention over positions and the head. A rate of this work is
therefore lower than the rate of the hardware.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, zip_longest

from beft.errors import UserError
from beft.operations.sizes import Extent, Shape, extent, shape
from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Recipe, fits_head, kind_of
from beft.techniques import TECHNIQUES

SAMPLE = 96  # finished runs that a speed is fitted to; more would not change it
PRECISIONS = ("float32", "bfloat16")
PADDING = 2  # tokens of a padded batch, relative to its real tokens


@dataclass(frozen=True)
class Done:
    """A finished run."""

    recipe: Recipe
    hardware: str  # the name of the GPU, or of the CPU with the number of threads
    gpu: bool  # whether it ran on a GPU
    precision: str  # what it computed in, one of `PRECISIONS`
    work: float  # in FLOP
    seconds: float  # its time
    size: int  # bytes on disk


@dataclass(frozen=True)
class Speed:
    """A model of the time of a run: fixed + work / rate."""

    hardware: str  # the hardware that the speed belongs to
    gpu: bool  # whether that is a GPU
    fixed: float  # overhead of each run, in seconds
    rates: dict[str, float]  # FLOP per second in each precision
    runs: int = 0  # the number of finished runs that it is fitted to; 0 if it is assumed
    error: float = 0.0  # the median of their relative errors

    def seconds(self, work: float, precision: str) -> float:
        """The time of a run."""
        return self.fixed + work / self.rates[precision]

    def __str__(self) -> str:
        how = f"fitted to {self.runs} runs, typical error {self.error:.0%}"
        rates = ", ".join(f"{r / 1e12:.3g} TFLOP/s in {p}" for p, r in self.rates.items())
        return f"{self.hardware}: {rates} ({how if self.runs else 'assumed, not measured'})"


# 30 % of the data sheet's 19.5 and 312 TFLOP/s; of 101 and 220 GFLOP/s, which a core of an AMD EPYC
# reached. `python -m benchmarks packs` measures the rates of a machine.
ASSUMED = {
    True: Speed("one A100 at 30 % of its peak", True, 5, {"float32": 5.85e12, "bfloat16": 93.6e12}),
    False: Speed(
        "one CPU core at 30 % of an EPYC's peak", False, 5, {"float32": 30e9, "bfloat16": 66e9}
    ),
}


def work(recipe: Recipe, model: Shape, task: Extent) -> float:
    """The FLOP of a run: its training and its evaluations."""
    technique, training = TECHNIQUES[recipe.technique], recipe.training
    size = recipe.subset["size"]
    rows = task.train if size == "all" else size
    evaluated = training.get("evaluated", "all")
    examined = task.validation if evaluated == "all" else min(evaluated, task.validation)
    read, answered, new = task.text, task.evaluated, 0
    if kind_of(recipe.model) == "decoder":
        one = training.get("objective") == "language_model_on_answer"
        read = task.prompt + (0 if one else task.answers)
        shown = training.get("demonstrations", 0)
        answered = min(task.prompt * (1 + shown), training["max_length"]) + task.answers
        new = training.get("max_new_tokens", 0)
    passes = 1 if technique.measures else training["epochs"]
    cheap = technique.biases_only or technique.adds or technique.measures
    trained = (4 if cheap else 6) * passes * rows * read
    evaluations = max(training["epochs"], 1) if recipe.evaluates_each_epoch else 1
    scored = 2 * evaluations * examined * (answered + new)
    if fits_head(training):  # to embeddings of the training examples, before each evaluation
        scored += 2 * evaluations * rows * read
    flat = technique.biases_only or technique.measures or kind_of(recipe.model) == "decoder"
    return model.inner * (trained + scored) * (1 if flat else PADDING)


def precision_of(recipe: Recipe) -> str:
    """The precision of a run. `auto` counts as bfloat16; gradients are measured in float32."""
    if TECHNIQUES[recipe.technique].measures or recipe.training["precision"] == "float32":
        return "float32"
    return "bfloat16"


def fit(done: Sequence[Done]) -> Speed:
    """Fits a speed to finished runs on one kind of hardware, by non-negative least squares.

    A precision that no run has gets the rate of the other one. If the runs do not tell overhead
    from work, all their time counts as work.
    """
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.array([max(d.seconds, 1e-6) for d in done])
    amount = np.array([[d.work * (d.precision == p) for p in PRECISIONS] for d in done])
    there = amount.any(axis=0)
    columns = np.column_stack([np.ones(len(done)), amount / 1e12])
    # Between absolute errors, where the longest runs decide alone, and relative ones, which give a
    # sum that is too low.
    weights = seconds**-0.5
    found = nnls(columns * weights[:, None], seconds * weights)[0]
    slopes = found[1:]
    if not all(slopes[there] > 0):
        found[0], slopes[:] = 0, np.median(seconds / (amount.sum(axis=1) / 1e12))
    slopes[~there] = slopes[there].max()
    errors = np.abs(columns @ np.array([found[0], *slopes]) / seconds - 1)
    rates = {p: float(1e12 / s) for p, s in zip(PRECISIONS, slopes, strict=True)}
    fixed, error = float(found[0]), float(np.median(errors))
    return Speed(done[0].hardware, done[0].gpu, fixed, rates, len(done), error)


def _spread(project: Project) -> Iterator[Recipe]:
    """The runs of packs whose first run exists: first runs of all packs, then second ones, ..."""
    runs = (pack.recipes for pack in project.packs.values())
    begun = [r for r in runs if open_run(project.layout, r[0]).is_written]
    for group in zip_longest(*begun):
        yield from (run for run in group if run is not None)


class Costs:
    """Estimates for the runs of one study. Sizes of models and tasks are looked up once."""

    def __init__(self, project: Project):
        self.project = project
        self._shapes: dict[str, Shape | None] = {}
        self._extents: dict[tuple[str, int], Extent | None] = {}

    def shape(self, recipe: Recipe) -> Shape | None:
        """The shape of a run's model; None if its size is unknown."""
        alias = recipe.model["alias"]
        if alias not in self._shapes:
            self._shapes[alias] = shape(self.project.root, self.project.params.models[alias])
        return self._shapes[alias]

    def extent(self, recipe: Recipe) -> Extent | None:
        """The size of a run's task; None if it is unknown."""
        key = (recipe.source, recipe.training["max_length"])
        if key not in self._extents:
            source = self.project.layout.source(recipe)
            self._extents[key] = extent(source, recipe.task, key[1])
        return self._extents[key]

    def work(self, recipe: Recipe) -> float | None:
        """The FLOP of a run; None if the size of its model or task is unknown."""
        model, task = self.shape(recipe), self.extent(recipe)
        return work(recipe, model, task) if model and task else None

    @cached_property
    def done(self) -> list[Done]:
        """Up to `SAMPLE` finished runs, spread over all packs; their checksums are not checked."""
        return list(islice(filter(None, map(self._done, _spread(self.project))), SAMPLE))

    def _done(self, recipe: Recipe) -> Done | None:
        run = open_run(self.project.layout, recipe)
        try:
            facts = run.provenance
            if run.metrics["status"] != "ok":
                return None
            gpu = facts["device"].startswith("cuda")
            hardware = facts["hardware"] + ("" if gpu else f", {facts['threads']} of them used")
            size = sum(f.stat().st_size for f in run.folder.iterdir())
            seconds = float(facts["seconds"])
            exact, amount = precision_of(recipe) == "float32", self.work(recipe)
            precision = "float32" if exact else facts["precision"]
            if not amount:
                return None
            return Done(recipe, hardware, gpu, precision, amount, seconds, size)
        except (UserError, OSError, ValueError, KeyError, TypeError):
            return None  # missing or damaged; `beft verify` reports damaged ones

    @cached_property
    def speeds(self) -> list[Speed]:
        """A speed for each kind of hardware of finished runs; that of most runs comes first."""
        groups: dict[str, list[Done]] = {}
        for run in self.done:
            groups.setdefault(run.hardware, []).append(run)
        return [fit(runs) for runs in sorted(groups.values(), key=len, reverse=True)]

    def speed(self, gpu: bool | None = None) -> Speed:
        """How fast jobs will be, with or without a GPU: as most finished runs, or else assumed.

        Without `gpu`, it is the speed of any hardware of finished runs, or else of an assumed GPU.
        """
        fitting = (s for s in self.speeds if gpu is None or s.gpu == gpu)
        return next(fitting, ASSUMED[gpu is not False])

    def seconds(self, recipes: Iterable[Recipe], speed: Speed) -> float | None:
        """The time of runs one after the other; None if one of them cannot be estimated."""
        total = 0.0
        for recipe in recipes:
            amount = self.work(recipe)
            if amount is None:
                return None
            total += speed.seconds(amount, precision_of(recipe))
        return total
