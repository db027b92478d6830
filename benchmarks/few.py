"""Few examples: tuned biases, and what else users would pick for 100 or 600 rows.

Metric and seconds of b_v in a pack, LoRA by Trainer and PEFT, SetFit, and logistic regression on
frozen embeddings. Rates were chosen on other random draws of training rows, never on the
validation. Each method starts from the checkpoint in float32, which holds float16: left so, a step
of SetFit on a CPU takes many times as long. Writes results/few.json.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from benchmarks import measure as M
from benchmarks import ours, peers
from benchmarks.material import BATCH, LENGTH, Material, material, recipe
from benchmarks.random_material import tiny

EPOCHS = {100: 10, 600: 5}  # training rows -> epochs of b_v and LoRA
DRAWS, PRECISION = 3, "bfloat16"  # random draws of the rows
BIAS_RATE, LORA_RATE = 1e-2, 1e-3
PAIR_STEPS = 100  # of SetFit, in batches of 16 pairs: all pairs would be thousands
COLUMNS = ["case", "metric", "lowest", "highest", "seconds", "draws", "note"]
Draws = Sequence[Material]
Found = tuple[float, float]  # seconds, accuracy
Method = Callable[[Material, int], Found]  # of a draw and its seed


def run(smoke: bool = False) -> list[dict]:
    """A row for each number of training rows and method, written after each."""
    if smoke:
        with tiny() as source:
            return _cases([[source, source]], [1], 2)
    draws = [[material(count, draw) for draw in range(DRAWS)] for count in EPOCHS]
    return _cases(draws, list(EPOCHS.values()), PAIR_STEPS)


def _cases(sizes: list[list[Material]], epochs: list[int], steps: int) -> list[dict]:
    rows: list[dict] = []
    facts = {"material": sizes[0][0].name, "validation": len(sizes[0][0].validation)}
    facts |= {"bias_rate": BIAS_RATE, "lora_rate": LORA_RATE, "pair_steps": steps}
    for draws, rounds in zip(sizes, epochs, strict=True):
        facts["most"] = len(draws[0].train)
        for method, (answer, used, note) in _methods(rounds, steps).items():
            case = f"{method}_{len(draws[0].train)}"
            if method == "setfit" and not find_spec("setfit"):
                rows.append({"case": case, "note": "not measured: setfit is not installed"})
                continue
            rows.append(_row(case, answer(draws[:used]), note))
            M.report(rows[-1])
            M.save("few", rows, **facts)
    return rows


def _methods(epochs: int, steps: int) -> dict[str, tuple]:
    """Name -> how draws are answered, how many of them, what a reader must know."""
    trained = f"{PRECISION}, {epochs} epochs, rate"
    return {
        "b_v": (lambda draws: pack(draws, epochs), DRAWS, f"{trained} {BIAS_RATE}"),
        "lora": (
            each(lambda *draw: lora(*draw, epochs)),
            DRAWS,
            f"{trained} {LORA_RATE}, rank {peers.LORA['r']}",
        ),
        "probe_mean": (each(probe("mean")), DRAWS, "mean over tokens"),
        "probe_first": (each(probe("first")), DRAWS, "first token"),
        "setfit": (each(lambda *draw: setfit(*draw, steps)), 1, f"{steps} steps of {BATCH} pairs"),
    }


def _row(case: str, found: list[Found], note: str) -> dict:
    """The median of seconds and the mean of accuracies over draws."""
    seconds, metrics = zip(*found, strict=True)
    return {
        "case": case,
        "metric": round(statistics.fmean(metrics), 4),
        "lowest": round(min(metrics), 4),
        "highest": round(max(metrics), 4),
        "seconds": round(statistics.median(seconds), 2),
        "draws": len(found),
        "note": note,
        "raw": [[round(s, 2), round(m, 4)] for s, m in found],
    }


def each(method: Method) -> Callable[[Draws], list[Found]]:
    """A method that takes one draw at a time, applied to several."""
    return lambda draws: [method(draw, seed) for seed, draw in enumerate(draws)]


def pack(draws: Draws, epochs: int) -> list[Found]:
    """b_v on all draws at once, validated after each epoch; the last counts."""
    encoder = draws[0].encoder()
    parts = [draw.encoded(encoder.tokenizer) for draw in draws]
    made = [
        recipe(draw, "b_v", seed, PRECISION, epochs=epochs, learning_rate=BIAS_RATE)
        for seed, draw in enumerate(draws)
    ]
    seconds, accuracies = ours.train(encoder, made, [train for train, _ in parts], parts[0][1])
    return [(seconds / len(draws), accuracy) for accuracy in accuracies]


def lora(draw: Material, seed: int, epochs: int) -> Found:
    """LoRA of the queries and values, validated once, at the end."""
    wish = {"learning_rate": LORA_RATE, "eval_strategy": "no"}
    return peers.train(peers.trainer_of("lora", draw, "v", seed, PRECISION, epochs, **wish))


def probe(pooling: str) -> Method:
    """Logistic regression on frozen embeddings: the mean over tokens, or the first token."""

    def answer(draw: Material, seed: int) -> Found:
        start = time.perf_counter()
        model = AutoModel.from_pretrained(draw.model, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(draw.model)
        train, validation = (
            embeddings(model, tokenizer, table["sentence"].to_pylist(), pooling)
            for table in (draw.train, draw.validation)
        )
        head = LogisticRegression(max_iter=1000).fit(train, draw.train["label"].to_numpy())
        accuracy = head.score(validation, draw.validation["label"].to_numpy())
        return time.perf_counter() - start, float(accuracy)

    return answer


@torch.inference_mode()
def embeddings(model, tokenizer, texts: list[str], pooling: str, batch: int = 64) -> np.ndarray:
    """What the last layer says of each text, (texts, width), in batches of similar lengths."""
    rows = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    out = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        given = tokenizer(
            [texts[row] for row in part],
            padding=True, truncation=True, max_length=LENGTH, return_tensors="pt",
        )  # fmt: skip
        states = model(**given).last_hidden_state
        real = given["attention_mask"][..., None].float()
        mean = (states * real).sum(1) / real.sum(1)
        out[part] = (mean if pooling == "mean" else states[:, 0]).numpy()
    return out


def setfit(draw: Material, seed: int, steps: int) -> Found:
    """SetFit's accuracy."""
    seconds, answers = setfit_answers(draw, seed, steps)
    return seconds, float((answers == draw.validation["label"].to_numpy()).mean())


def setfit_answers(draw: Material, seed: int, steps: int) -> tuple[float, np.ndarray]:
    """SetFit: all weights tuned on pairs of texts, then logistic regression on embeddings.

    Returns:
        Seconds, and the class of each validation example.
    """
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments

    body = SentenceTransformer(str(draw.model), device="cpu", model_kwargs={"dtype": torch.float32})
    model = SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=1000))
    table = Dataset(draw.train.select(["sentence", "label"])).rename_column("sentence", "text")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            batch_size=BATCH,
            num_epochs=1,
            max_steps=steps,
            seed=seed,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=table)
        start = time.perf_counter()
        trainer.train()
        answers = model.predict(draw.validation["sentence"].to_pylist(), as_numpy=True)
        return time.perf_counter() - start, np.asarray(answers)
