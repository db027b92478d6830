"""Memory of tuning b_v of large decoders: `python -m benchmarks.memory [MODEL ...]`.

Weights are random and of the real shapes: memory and time do not depend on their values. Writes
results/memory.json, on a GPU results/memory_gpu.json: one row per model; rows of other models
stay. `make bench` leaves it out: the largest models need 20 GB. `BEFT_MEMORY_GB` limits what a
process may take of a GPU, to see whether a smaller card would do.
"""

import os
import resource
import sys
import time
from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM as Model
from transformers import GPTJConfig, LlamaConfig, OPTConfig, PreTrainedConfig

from beft.data.prompts import Prompts
from beft.engine.decoder.packed import Prompted
from beft.models.decoder import Decoder
from beft.models.sites import add_projection_biases, find_sites
from beft.study.recipe import Recipe
from beft.tasks.prompts import Words
from benchmarks import measure as M

BATCH, LENGTH = 8, 512
COLUMNS = [
    "case",
    "weights_gb",
    "peak_gb",
    "tokens_per_pass",
    "checkpointing",
    "step_seconds",
    "note",
]
OPT = {"max_position_embeddings": 2048, "vocab_size": 50272, "dropout": 0.0}
MODELS: dict[str, PreTrainedConfig] = {
    "opt-1.3b": OPTConfig(
        hidden_size=2048, num_hidden_layers=24, num_attention_heads=32, ffn_dim=8192,
        word_embed_proj_dim=2048, **OPT,
    ),
    "opt-6.7b": OPTConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, ffn_dim=16384,
        word_embed_proj_dim=4096, **OPT,
    ),
    "llama-2-7b": LlamaConfig(),
    "gpt-j-6b": GPTJConfig(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
}  # fmt: skip
TINY = OPTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, ffn_dim=64, word_embed_proj_dim=32,
    max_position_embeddings=1024, vocab_size=200, dropout=0.0,
)  # fmt: skip


def build(config: PreTrainedConfig, device: str) -> torch.nn.Module:
    """A model in bfloat16 with random weights, without ever holding a larger copy."""
    with torch.device("meta"):
        model = Model.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device=device)
    model.tie_weights()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02, generator=generator)
        for name, buffer in model.named_buffers():
            if "inv_freq" in name:
                buffer.copy_(10000.0 ** -torch.linspace(0, 1, len(buffer)))
            else:
                buffer.zero_()
    return model.eval()


def examples(vocabulary: int) -> Prompts:
    """A batch of prompts of `LENGTH` tokens, each with two answers of one token."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(10, vocabulary - 10, (BATCH, LENGTH), generator=draw).tolist()
    words = [Words("", "", "", ("a", "b"), (0,))] * BATCH
    return Prompts(ids, [[[11], [12]]] * BATCH, [[10]] * BATCH, words, str)


def measure(name: str, config: PreTrainedConfig, device: str) -> dict:
    """One step of b_v on `BATCH` examples of `LENGTH` tokens."""
    model = build(config, device)
    weights = sum(p.numel() for p in model.parameters())
    added = add_projection_biases(model)
    decoder = Decoder(model, None, find_sites(model), added=added)
    data = examples(config.vocab_size)
    training = {
        "learning_rate": 1e-3, "epochs": 1, "batch_size": BATCH, "max_length": LENGTH,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": 0.0, "precision": "bfloat16",
        "objective": "cross_entropy_over_candidates", "scoring": "normalised",
    }  # fmt: skip
    recipe = Recipe({"alias": name, "kind": "decoder"}, {}, "", {}, "b_v", 0, training)
    engine = Prompted(decoder, [recipe], [data], device)
    engine.measured = not device.startswith("cuda")  # what is measured here is the step alone
    start = time.perf_counter()
    loss = engine.step({0: torch.arange(BATCH).numpy()}, {0: 1})[0]
    seconds = time.perf_counter() - start
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "case": name,
        "parameters": weights,
        "weights_gb": round(2 * weights / 1e9, 2),
        "peak_gb": round(peak / 1e9, 2),
        "tokens_per_pass": min(engine.passes.tokens, BATCH * LENGTH),
        "checkpointing": model.is_activation_checkpointing,
        "step_seconds": round(seconds, 1),
        "note": f"{device}, b_v, batch {BATCH} x {LENGTH} tokens, loss {loss:.3f}",
    }


def run(smoke: bool = False, names: Sequence[str] = tuple(MODELS)) -> list[dict]:
    """One row per model, all in this process, which is best given one at a time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if smoke:
        return [measure("tiny", TINY, device)]
    file = "memory" if device == "cpu" else "memory_gpu"
    limit = float(os.environ.get("BEFT_MEMORY_GB", "0"))
    if limit and device != "cpu":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(limit * 1e9 / total)
    rows = [r for r in M.load(file)["rows"] if r["case"] not in names]
    for name in names:
        rows.append(measure(name, MODELS[name], device))
        M.save(file, rows, batch_size=BATCH, max_length=LENGTH, limit_gb=limit or None)
    return rows


if __name__ == "__main__":
    M.show("memory", run(names=sys.argv[1:] or tuple(MODELS)), COLUMNS)
