"""The outcome of `tune`: the choice, what supports it, and the lines that say so."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beft.tuning.candidates import Candidate
from beft.tuning.choice import Outcome, difference
from beft.tuning.examples import Meaning
from beft.tuning.race import Raced
from beft.tuning.tested import Tested

SHOWN = 6  # rows of the table


@dataclass(frozen=True)
class Result:
    """A tuned model and what was found out about it."""

    chosen: Outcome  # on held-out folds
    raced: Raced
    held_out: float  # held-out rows of a fold divided by those trained on
    tested: Tested
    meaning: Meaning
    metric: str
    scale: float  # 100 where the metric is shown in percent, else 1
    folder: Path  # of the adapter

    def lines(self) -> list[str]:
        """What a terminal shows."""
        return [*self._left_out(), *self.table(), *self._choice(), *self._test()]

    def ranked(self) -> list[Outcome]:
        """The finalists, the best first; the chosen one is always among those shown."""
        return sorted(self.raced.last, key=lambda o: (-o.mean, o.candidate.simplicity))

    def table(self) -> list[str]:
        """The best finalists with their difference to the chosen one."""
        head = f"{'way':<24}{'rate':>8}{'epochs':>8}{self.metric:>12}   minus the choice"
        ranked = self.ranked()
        shown = ranked[:SHOWN]
        if self.chosen not in shown:
            shown[-1] = self.chosen
        return [head, *(self._row(each) for each in shown)]

    def _row(self, each: Outcome) -> str:
        c, value = each.candidate, self.shown(each.mean)
        rate = f"{c.rate:g}" if c.trains else "-"
        name = f"{'>' if each is self.chosen else ' '} {c}"
        return f"{name:<24}{rate:>8}{each.epoch or '-':>8}{value:>12}   {self.compared(each)}"

    def compared(self, each: Outcome) -> str:
        """A finalist minus the chosen one, with the interval of the difference."""
        if each is self.chosen:
            return ""
        d, digits = difference(each, self.chosen, self.held_out), self._digits
        mean, low, high = (x * self.scale for x in (d.mean, d.low, d.high))
        return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"

    @property
    def _digits(self) -> int:
        return 1 if self.scale == 100 else 3

    def _left_out(self) -> Iterator[str]:
        told = []
        if self.raced.inert:
            told.append(f"left out, cannot change the output: {', '.join(self.raced.inert)}")
        if failed := self.raced.failed:
            name, reason = next(iter(failed.items()))
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            told.append(f"did not end well: {name}{more}: {reason}")
        if told:
            yield "; ".join(told)

    def _choice(self) -> Iterator[str]:
        c, best = self.chosen.candidate, self.ranked()[0]
        epochs = f", {self.chosen.epoch} epochs" if c.trains else ""
        if not c.trains:
            why = "nothing tuned is better on held-out folds"
        elif best is self.chosen:
            why = "the best on held-out folds"
        else:
            why = f"as good as {best.candidate} within one standard error, and it trains as much"
        yield f"choice: {_named(c)}{epochs}: {why}"
        level = [
            o.candidate
            for o in self.ranked()
            if o is not self.chosen and difference(o, self.chosen, self.held_out).is_level
        ]
        if level:
            cheapest_first = sorted(level, key=lambda o: o.share >= c.share)[:4]
            told = ", ".join(_beside(o, c) for o in cheapest_first)
            yield f"not separated from it on these folds: {told}"

    def _test(self) -> Iterator[str]:
        t = self.tested
        value, low, high = map(self.shown, (t.value, t.low, t.high))
        guess = f"; guessing {self.shown(t.guess)}" if t.guess is not None else ""
        guess += ", which it does not clearly beat" if self._may_know_nothing else ""
        yield f"test: {t.metric} {value} ({low} to {high}) on {len(t.truth)} rows, read once{guess}"
        if t.classes:
            there = [c for c in t.classes if c.support]
            each = [f"{c.name} {c.recall:.0%} of {c.support}" for c in there[:6]]
            more = f" and {len(there) - 6} more classes (README.md)" if len(there) > 6 else ""
            yield f"found of each class: {', '.join(each)}{more}"
        else:
            yield (
                f"mean absolute error {t.errors['mae']:.3g}, root mean squared error "
                f"{t.errors['rmse']:.3g}"
            )

    def warnings(self) -> list[str]:
        """What a reader of the model card should know of the choice."""
        found = list(self._left_out())
        if self._may_know_nothing:
            found.append("the interval of the test holds what guessing gives: it may know nothing")
        return found

    @property
    def _may_know_nothing(self) -> bool:
        t = self.tested
        return t.guess is not None and t.low <= t.guess

    def shown(self, value: float) -> str:
        """A metric as people read it."""
        return f"{value * self.scale:.{self._digits}f}"


def _named(candidate: Candidate) -> str:
    return f"{candidate} at {candidate.rate:g}" if candidate.trains else str(candidate)


def _beside(candidate: Candidate, chosen: Candidate) -> str:
    """A way that is level with the choice, and whether it is cheaper."""
    if not candidate.trains:
        return f"{candidate} (nothing to tune)"
    return f"{_named(candidate)}{' (trains less)' if candidate.share < chosen.share else ''}"
