"""The peers: Hugging Face's Trainer with PEFT's BEFT, and Trainer with frozen weights (BitFit).

They get the model, examples, batches, epochs, evaluation, precision and trained parameters of
ours, padding to the longest of a batch, and no logging or checkpoints, which would cost them time.

As a program it makes one run from nothing, as people sweep with such scripts:
`python -m benchmarks.peers WISH`, where WISH is
`{"kind": "peft", "term": "v", "seed": 0, "precision": "float32", "threads": 2}`.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Collection

import numpy as np
import torch
from datasets import Dataset
from peft import BeftConfig, LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from beft.data.encoded import Encoded
from beft.tasks.metrics.classes import score
from benchmarks.material import BATCH, EPOCHS, LENGTH, RATE, Material, material

LINEARS = {  # where BERT keeps a term's bias
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "attention_output": "attention.output.dense",
}
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ["query", "value"]}


def untuned(material: Material) -> torch.nn.Module:
    """The library's model in float32, with a new head."""
    return AutoModelForSequenceClassification.from_pretrained(
        material.model, num_labels=material.outputs, dtype=torch.float32
    )


def model_of(kind: str, material: Material, term: str, seed: int) -> torch.nn.Module:
    """The model with one term, the pooler's bias and the classifier trained.

    Args:
        kind: `peft` adds BEFT's vectors; `freeze` trains the model's own biases; `lora` adds LoRA
            to queries and values instead of a term.
    """
    torch.manual_seed(seed)
    model = untuned(material)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if kind == "peft":
        targets = rf".*\.layer\.\d+\.{re.escape(LINEARS[term])}"
        config = BeftConfig(task_type=TaskType.SEQ_CLS, target_modules=targets)
        model = get_peft_model(model, config)
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, **LORA))
    for name, parameter in model.named_parameters():
        own = kind == "freeze" and name.endswith(f"{LINEARS[term]}.bias")
        if own or "pooler.dense.bias" in name or (kind == "freeze" and "classifier" in name):
            parameter.requires_grad_(True)
    return model


def trainer_of(
    kind: str,
    material: Material,
    term: str,
    seed: int,
    precision: str,
    epochs: int = EPOCHS,
    **changes: object,
) -> Trainer:
    """A trainer that is ready to run.

    Args:
        changes: other arguments of `TrainingArguments` than those of the sweep.
    """
    tokenizer, metric = AutoTokenizer.from_pretrained(material.model), material.task["metric"]

    def tokens(table) -> Dataset:
        columns = material.task["text"]
        data = Dataset(table.select([*columns, "label"]))
        return data.map(
            lambda rows: tokenizer(
                *(rows[name] for name in columns), truncation=True, max_length=LENGTH
            ),
            batched=True,
            remove_columns=columns,
            keep_in_memory=True,
        )

    settings = {
        "output_dir": tempfile.mkdtemp(),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 64,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "bf16": precision == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    arguments = TrainingArguments(**settings | changes)
    return Trainer(
        model=model_of(kind, material, term, seed),
        args=arguments,
        train_dataset=tokens(material.train),
        eval_dataset=tokens(material.validation),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {metric: score(metric, _decided(p[0]), p[1])},
    )


def _decided(outputs: np.ndarray) -> np.ndarray:
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(1)


def train(trainer: Trainer, metric: str = "accuracy") -> tuple[float, float]:
    """(seconds of training with its evaluations, the metric after the last epoch)."""
    start = time.perf_counter()
    trainer.train()
    if trainer.args.eval_strategy == "no":
        trainer.evaluate()
    seconds = time.perf_counter() - start
    evaluations = [row for row in trainer.state.log_history if f"eval_{metric}" in row]
    return seconds, evaluations[-1][f"eval_{metric}"]


def mean_squares(
    model: torch.nn.Module, data: Encoded, names: Collection[str]
) -> dict[str, torch.Tensor]:
    """Exact Fisher as a loop has it: one example at a time, with gradients of few parameters.

    Returns:
        Name of each parameter -> its squared gradient of log p(y|x), the mean over examples.
    """
    model.eval()
    named = {n: p for n, p in model.named_parameters() if n in names}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in named.values():
        parameter.requires_grad_(True)
    squares = {name: torch.zeros_like(p) for name, p in named.items()}
    for row, label in enumerate(data.labels):
        given = {"input_ids": torch.tensor([data.ids[row]])}
        if data.types:
            given["token_type_ids"] = torch.tensor([data.types[row]])
        likelihood = model(**given).logits[0].log_softmax(0)[label]
        grads = torch.autograd.grad(likelihood, list(named.values()))
        for square, grad in zip(squares.values(), grads, strict=True):
            square += grad**2
    return {name: square / len(data) for name, square in squares.items()}


def trained_scalars(model: torch.nn.Module) -> int:
    """How many scalars the optimiser moves."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def answer(source: Material, wish: dict) -> dict:
    """Trains one run of the wished kind, term and seed."""
    seconds, accuracy = train(
        trainer_of(wish["kind"], source, wish["term"], wish["seed"], wish["precision"])
    )
    return {"seconds": seconds, "accuracy": accuracy}


if __name__ == "__main__":
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(wish["threads"])
    print(json.dumps(answer(material(), wish)))
