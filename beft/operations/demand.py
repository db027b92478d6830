"""What a job asks of its machine: memory, GPU memory and time, by its model and technique."""

import math
from dataclasses import dataclass

from beft.operations.cost import Costs, precision_of
from beft.operations.sizes import Shape
from beft.study import params as P
from beft.study.recipe import Pack, Recipe, kind_of
from beft.techniques import TECHNIQUES

PROCESS_MB = 800  # Python with torch, on the host or on a GPU
SCHEDULER_MB = 400  # the two snakemakes around a SLURM job
PASS_TOKENS = 2048  # a pass may have more where memory is left
ACTIVATION_BYTES = 32  # per token, layer and unit of its width; measured with OPT: 22
SAFETY = 3  # a job that runs out of time has wasted most of it
START_SECONDS = 120  # imports, weights from a shared disk, the first pass


@dataclass(frozen=True)
class Demand:
    """What one job needs at its first attempt.

    Attributes:
        memory_mb: of the host, whatever computes.
        gpu_memory_mb: at least, when a GPU computes; None where the model's size is unknown.
        runtime_minutes: with a margin.
    """

    memory_mb: int
    gpu_memory_mb: int | None
    runtime_minutes: int


def demand(
    pack: Pack, execution: P.Execution, model: Shape | None, seconds: float | None
) -> Demand:
    """What a job asks for; what `execution` says is the least.

    Args:
        model: None where its size is not known; the job then asks for the least.
        seconds: that the pack will take, None where nobody knows.
    """
    memory, gpu = execution.memory_mb, None
    if model:
        needs = [_bytes(recipe, pack, model) for recipe in pack.recipes]
        host, device = (max(need) / 2**20 for need in zip(*needs, strict=True))
        memory = max(memory, math.ceil(PROCESS_MB + SCHEDULER_MB + host))
        gpu = math.ceil(PROCESS_MB + device)
    minutes = execution.runtime_minutes
    if seconds is not None:
        minutes = max(minutes, math.ceil((START_SECONDS + SAFETY * seconds) / 60))
    return Demand(memory, gpu, minutes)


def demand_of(costs: Costs, pack: Pack) -> Demand:
    """What the job of a pack asks for, by what the study's done runs took where there are some."""
    seconds = costs.seconds(pack.recipes, costs.speed())
    execution = costs.project.params.execution
    return demand(pack, execution, costs.shape(pack.recipes[0]), seconds)


def _bytes(recipe: Recipe, pack: Pack, model: Shape) -> tuple[float, float]:
    """(of the host, of a GPU) for weights, what training adds to them, and activations."""
    technique = TECHNIQUES[recipe.technique]
    passing = PASS_TOKENS * model.layers * model.width * ACTIVATION_BYTES
    if technique.trains and not technique.biases_only and not technique.adds:
        # Values, gradients, two moments, and the pretrained values to go back to. A checkpoint
        # copies values and moments twice, on the host.
        return 44 * model.parameters + passing, 20 * model.parameters + passing
    if kind_of(recipe.model) == "encoder":
        laid_out = 4 * model.inner  # for products in both directions, on CPUs alone
        return 4 * model.parameters + laid_out + passing, 6 * model.parameters + passing
    probed = pack.skip_inert  # inert terms are measured in float32
    each = 4 if probed or precision_of(recipe) == "float32" else 2
    return each * model.parameters + passing, each * model.parameters + passing
