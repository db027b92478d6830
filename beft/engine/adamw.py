"""AdamW for R runs at once: elementwise, with a rate, a step count and a norm for each run."""

import math
from collections.abc import Mapping, Sequence

import torch

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """Optimiser of the trained scalars of R runs; each run's gradient is clipped separately.

    Attributes:
        theta: (P,) the trained scalars, updated in place.
        owner: (P,) the run of each scalar.
        rates: (R,) learning rates.
        steps: (R,) int64, updates so far.
        mean, square: (P,) running moments of the gradient.
    """

    def __init__(
        self,
        theta: torch.Tensor,
        owner: torch.Tensor,
        rates: Sequence[float],
        weight_decay: float,
        max_grad_norm: float,
    ):
        self.theta, self.owner = theta, owner
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self.rates = torch.tensor(rates, dtype=torch.float32, device=theta.device)
        self.steps = torch.zeros(len(rates), dtype=torch.int64, device=theta.device)
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)

    def update(
        self, gradient: torch.Tensor, norms: torch.Tensor, losses: Mapping[int, float]
    ) -> list[int]:
        """One step of the runs in `losses`; the others do not change.

        Args:
            gradient: (P,).
            norms: (R,) the norm of each run's gradient.
            losses: run -> loss of this step.

        Returns:
            Runs whose loss or gradient is not finite; they do not change either.
        """
        finite = torch.isfinite(norms).tolist()
        bad = [r for r, loss in losses.items() if not (math.isfinite(loss) and finite[r])]
        moves = [r in losses and r not in bad for r in range(len(self.rates))]
        moving = torch.tensor(moves, device=gradient.device)
        self.steps.add_(moving)
        scale = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        chosen = moving[self.owner]
        gradient = torch.where(chosen, gradient * scale[self.owner], 0.0)
        mean = torch.lerp(self.mean, gradient, 1 - BETAS[0])
        square = self.square * BETAS[1] + gradient**2 * (1 - BETAS[1])
        self.mean.copy_(torch.where(chosen, mean, self.mean))
        self.square.copy_(torch.where(chosen, square, self.square))
        self.theta.sub_(torch.where(chosen, self._change(), 0.0))
        return bad

    def _change(self) -> torch.Tensor:
        steps = self.steps.clamp(min=1).double()
        root = (1 - BETAS[1] ** steps).sqrt().float()[self.owner]
        rate = (self.rates.double() / (1 - BETAS[0] ** steps)).float()[self.owner]
        decay = self.rates[self.owner] * self.weight_decay * self.theta
        return rate * self.mean / (self.square.sqrt() / root + EPSILON) + decay
