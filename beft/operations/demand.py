"""Estimate the memory, GPU memory and time that a job needs, from its model and technique."""

import math
from dataclasses import dataclass

from beft.operations.cost import Costs, precision_of
from beft.operations.sizes import Shape
from beft.study import params as P
from beft.study.recipe import Pack, Recipe, kind_of
from beft.techniques import TECHNIQUES

PROCESS_MB = 800  # a Python process with torch, on the host or on a GPU
SCHEDULER_MB = 400  # the two snakemake processes of a SLURM job
PASS_TOKENS = 2048  # tokens of a pass; it takes more if there is memory
ACTIVATION_BYTES = 32  # per token, layer and unit of the width; 22 were measured with OPT
SAFETY = 3  # times the estimate, because a job that exceeds its time wastes most of it
START_SECONDS = 120  # to import, to load weights from a shared disk, and for the first pass


@dataclass(frozen=True)
class Demand:
    """What a job requests at its first attempt."""

    memory_mb: int  # memory of the host, with or without a GPU
    gpu_memory_mb: int | None  # the least memory of a GPU; None if the size of the model is unknown
    runtime_minutes: int  # time, with a margin


def demand(
    pack: Pack, execution: P.Execution, model: Shape | None, seconds: float | None
) -> Demand:
    """What the job of a pack requests: the estimates, or what `execution` says if that is more.

    The shape of the model and the seconds of the pack are None if they are unknown.
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
    """What the job of a pack requests, with the speed of the study's finished runs if any."""
    seconds = costs.seconds(pack.recipes, costs.speed())
    execution = costs.project.params.execution
    return demand(pack, execution, costs.shape(pack.recipes[0]), seconds)


def _bytes(recipe: Recipe, pack: Pack, model: Shape) -> tuple[float, float]:
    """The bytes of weights, training state and activations: (on the host, on a GPU)."""
    technique = TECHNIQUES[recipe.technique]
    passing = PASS_TOKENS * model.layers * model.width * ACTIVATION_BYTES
    if technique.trains and not technique.biases_only and not technique.adds:
        # Values, gradients, two moments, and the pretrained values to restore. A checkpoint
        # copies values and moments twice, on the host.
        return 44 * model.parameters + passing, 20 * model.parameters + passing
    if kind_of(recipe.model) == "encoder":
        laid_out = 4 * model.inner  # copies of weights in the layout of the CPU's kernels
        return 4 * model.parameters + laid_out + passing, 6 * model.parameters + passing
    probed = pack.skip_inert  # the search for inert terms computes in float32
    each = 4 if probed or precision_of(recipe) == "float32" else 2
    return each * model.parameters + passing, each * model.parameters + passing
