"""Table 4: models by tasks in the smallest regime, beside the paper's numbers."""

import pandas as pd
from support.frames_of import frames_of

from beft.report.frames.schema import Frames
from beft.report.tables.formats import plain
from beft.report.tables.table1 import table1
from beft.report.tables.table4 import table4


def study(numbers: dict[tuple, object], metrics: dict[str, str], **settings) -> Frames:
    """(model, task, regime, technique) -> its metric, or the status of a run without one."""
    runs = []
    for (model, task, regime, technique), value in numbers.items():
        ok = isinstance(value, float)
        runs.append(
            {"model": model, "task": task, "regime": regime, "technique": technique, "seed": 0,
             "best": value if ok else None, "last": 0.1, "metric": metrics[task], "epochs": 2,
             "digest": f"{model}{task}{regime}{technique}", "status": "ok" if ok else value}
        )  # fmt: skip
    table = pd.DataFrame(runs)
    return frames_of(settings, runs=table.assign(best=pd.to_numeric(table["best"])))


NUMBERS = {
    ("bert-base-cased", "cb", "low", "b_q"): 0.48,
    ("bert-base-cased", "cb", "low", "b_v"): 0.60,
    ("bert-base-cased", "cb", "high", "b_v"): 0.99,
    ("roberta-base", "cb", "low", "b_v"): 0.91,
    ("roberta-base", "wic", "low", "b_v"): "diverged",
    ("roberta-base", "wic", "low", "all_biases"): 0.5,
}
METRICS = {"cb": "f1_macro", "wic": "accuracy"}
ORDER = {"regimes": ["low", "high"], "tasks": {"cb": {}, "wic": {}}}


def rows(frames: Frames) -> list[list[str]]:
    (part,) = table4(frames).parts
    return [[plain(cell) for cell in row] for row in part.rows]


def test_models_by_tasks_in_the_smallest_regime() -> None:
    # 59.0, 47.2, 90.5 and 62.1 are the paper's Table 4
    assert rows(study(NUMBERS, METRICS, **ORDER)) == [
        ["bert-base-cased", "b_v", "60.0 (n=1/1) paper 59.0, +1.0", "— not planned"],
        ["bert-base-cased", "b_q", "48.0 (n=1/1) paper 47.2, +0.8", "— not planned"],
        ["roberta-base", "b_v", "91.0 (n=1/1) paper 90.5, +0.5", "— paper 62.1 1/1 diverged"],
    ]


def test_no_term_is_bold_where_the_best_are_equal() -> None:
    """As table `selection` says there: no term is ahead."""
    for q, k, bold in ((0.4, 0.3, ["b_v"]), (0.5, 0.3, []), (0.5, 0.5, []), (0.6, 0.5, ["b_q"])):
        terms = {"b_v": 0.5, "b_q": q, "b_k": k}
        numbers = {("m", "cb", "low", term): value for term, value in terms.items()}
        frames = study(numbers, METRICS, regimes=["low"], tasks={"cb": {}})
        for table in (table4(frames), table1(frames)):
            (part,) = table.parts
            names = [row[1].text for row in part.rows if row[2].bold]
            assert names == bold
            best = table.tidy.loc[table.tidy["best"], "technique"]
            assert best.tolist() == bold
            if table.name == "table1":  # the average, too
                assert [row[1].text for row in part.rows if row[-1].bold] == bold


def test_another_metric_is_not_the_papers() -> None:
    found = rows(study(NUMBERS, {**METRICS, "cb": "accuracy"}, **ORDER))
    assert found[0][2] == "60.0 (n=1/1)"


def test_models_of_several_smallest_regimes_say_so() -> None:
    numbers = {**NUMBERS, ("other", "cb", "high", "b_v"): 0.5}
    table = table4(study(numbers, METRICS, **ORDER))
    assert table.parts[0].caption == "regime low, high"
    assert any("other: high" in note for note in table.notes)


def test_decoders_are_in_other_tables(decoders) -> None:
    assert table4(decoders({("opt", "cb", "b_v"): [0.5]})).parts == ()
