"""The numbers behind figures, and what they say in words."""

import pytest

from beft.report.figures.registry import FIGURES
from beft.report.page.numbers import KNOWN, numbers_of


def test_every_known_figure_is_one() -> None:
    assert set(KNOWN) <= set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_no_runs_give_no_numbers(nothing, name: str) -> None:
    assert numbers_of(name, nothing) is None


def test_zero_shot_in_numbers(decoders) -> None:
    """Means over tasks by hand: zero_shot (40 + 60) / 2, b_k (40 + 61) / 2, b_v (80 + 90) / 2."""
    values = {"zero_shot": (0.4, 0.6), "b_k": (0.4, 0.61), "b_v": (0.8, 0.9), "lora": (1.0, 1.0)}
    numbers = {
        ("m", task, t): [both[i]] for t, both in values.items() for i, task in enumerate("ab")
    }
    found = numbers_of("zero_shot", decoders(numbers))
    assert found.words == "Mean metric in percent: zero_shot 50.0, b_k 50.5, b_v 85.0."
    assert len(found.data) == 6 and "lora" not in set(found.data["technique"])


def test_cost_names_the_best_technique(decoders) -> None:
    found = numbers_of("cost", decoders({("m", "a", "b_v"): [0.8], ("m", "a", "lora"): [0.9, 0.8]}))
    # 1,572,864 parameters: what the study of decoders says of lora
    assert found.words.endswith("of each model: m: lora 85.0 with 1572864 parameters.")


def test_curves_end_where_the_history_ends(frames) -> None:
    found = numbers_of("curves", frames)
    history = frames.history.merge(frames.runs[["digest", "technique", "status"]], on="digest")
    own = history[(history["technique"] == "full") & (history["status"] == "ok")]
    own = own[(own["epoch"] == 8) & (own["split"] != "validation_mismatched")]
    places = frames.runs[frames.runs["technique"] == "full"].set_index("digest")
    cells = own.assign(
        cell=[tuple(places.loc[d, ["model", "task", "regime"]]) for d in own["digest"]]
    )
    mean = cells.groupby("cell")["value"].mean().mean()
    assert f"full {100 * mean:.1f}" in found.words


def test_ranks_say_which_term_is_first(frames) -> None:
    """conftest: v has the highest scores by projection and fisher, q by magnitude."""
    found = numbers_of("figure4", frames)
    means = found.data.groupby(["selector", "term"])["mean_rank"].mean()
    for selector, first in (("projection", "v"), ("magnitude", "q"), ("fisher", "v")):
        assert means[selector].idxmin() == first
        assert f"Mean {selector} rank: q {means[selector, 'q']:.1f}" in found.words


def test_layers_name_the_most_important_term(frames) -> None:
    """conftest: over all layers v leads by projection, q by magnitude, in both models."""
    words = numbers_of("layers", frames).words
    assert "mini-rotary, projection: v with" in words and "mini-rotary, magnitude: q with" in words
