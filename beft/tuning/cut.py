"""Cut examples into test rows and folds, by class and by group, from their content alone."""

from beft.tuning.examples import Cut, Examples


def cut(examples: Examples, share: float, folds: int, seed: int = 0) -> Cut:
    """Cuts off test rows, and the others into folds.

    Args:
        examples: the examples.
        share: of the examples that are tested on; 0 for none.
        folds: how many parts of the pool are held out in turn.
        seed: another one gives another cut.
    """
    raise NotImplementedError


def separate(pool: Examples, test: Examples) -> tuple[Examples, int]:
    """The examples of a pool without those that a test file has too, and how many these are."""
    raise NotImplementedError
