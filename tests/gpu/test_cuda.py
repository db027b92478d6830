"""The engine on a CUDA card: the values of the CPU, packs, dropout, memory, generation, resuming.

Skipped where there is no card. `benchmarks/device.sh` runs them on a bare machine that has one.
"""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import prompted, recipe

from beft.data.encoded import Encoded
from beft.data.prompts import encode_prompts
from beft.engine.decoder.answer import answers
from beft.engine.dispatch import engine, packs_together, serves
from beft.engine.gradients import measure
from beft.engine.noise import Noise, token_keys
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.tasks.words import Words
from beft.training.loop import train
from beft.training.state import Control, Data, Interrupted

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card"),
]
FLAT = ["bert", "roberta", "xlm-roberta", "electra", "distilbert"]
PADDED = ["deberta-v3", "mpnet"]
DECODERS = ["opt", "gpt2", "gpt_neox", "llama", "qwen3", "phi"]
VERDICT = (" terrible", " great")
WORDS = [
    Words("", "the film was very good and the man likes it", " It was", VERDICT, (1,)),
    Words("", "a dog", " It was", VERDICT, (0,)),
    Words("", "the story is not dull but it is not great", " It was", VERDICT, (1,)),
    Words("", "this plot sleeps with a cat in it", " It was", VERDICT, (0,)),
]


def kinds(model, data: Encoded) -> Encoded:
    """The examples without token types for models whose tokenizer gives none."""
    typed = "token_type_ids" in model.tokenizer.model_input_names
    return data if typed else Encoded(data.ids, None, data.labels)


def run(folder, device, recipes, dropout=0.0, size=20, control=None):
    """The states after training; each run has its own training examples."""
    pooling = recipes[0].pooling
    encoder = load_encoder(folder, 2, dropout=dropout, device=device, pooling=pooling)
    validation = kinds(encoder, encoded(12, 1))
    data = [
        Data(kinds(encoder, encoded(size + i, 10 + i)), {"validation": validation})
        for i in range(len(recipes))
    ]
    flat = serves(encoder, device) and packs_together(recipes[0])
    used = engine(encoder, recipes, [d.train for d in data], device, flat)
    try:
        return train(used, data, control or Control(None)), used.passes.refused
    finally:
        used.close()


def assert_close(state, expected, tolerance):
    """Equal biases, heads and losses; gradients of key biases are rounding noise."""
    assert [h["epoch"] for h in state.history] == [h["epoch"] for h in expected.history]
    assert set(state.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        if tensor.is_floating_point() and not name.endswith("/k"):
            torch.testing.assert_close(
                *(state.tensors[name].cpu(), tensor.cpu()),
                **{"rtol": tolerance, "atol": tolerance},
                msg=lambda m, n=name: f"{n} {m}",
            )


@pytest.mark.parametrize("architecture", [*FLAT, *PADDED])
@pytest.mark.parametrize("technique", ["b_v", "all_biases", "full"])
def test_encoders_end_as_on_the_cpu(tmp_path, architecture, technique):
    """Without dropout, 3 epochs of 5 steps in float32."""
    folder = tiny.checkpoint(architecture, tmp_path)
    made = [recipe(technique, learning_rate=1e-3)]
    (expected,), _ = run(folder, "cpu", made)
    (state,), _ = run(folder, "cuda", made)
    assert_close(state, expected, 1e-3)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("technique", ["b_v", "b_intermediate"])
def test_with_dropout_encoders_end_as_on_the_cpu(tmp_path, technique, pooling):
    """Dropout is a function of run, sequence, token and place: the same on both devices."""
    folder = tiny.checkpoint("bert", tmp_path)
    made = [recipe(technique, learning_rate=1e-3, pooling=pooling)]
    (expected,), _ = run(folder, "cpu", made, dropout=0.1)
    (state,), _ = run(folder, "cuda", made, dropout=0.1)
    assert_close(state, expected, 1e-3)
    (without,), _ = run(folder, "cuda", made, dropout=0.0)
    assert without.history[0]["train_loss"] != state.history[0]["train_loss"]


def test_dropout_masks_are_those_of_the_cpu():
    """500 features of 300 tokens of three sequences: every factor is equal, and some are 0."""
    keys = torch.from_numpy(token_keys([3, 3, 4], [0, 1, 0], [100, 150, 50]))
    starts = torch.tensor([0, 100, 250])
    here, there = (Noise(keys.to(d), starts.to(d)) for d in ("cpu", "cuda"))
    for _ in range(3):
        expected = here.hidden(torch.Size([1, 300, 500]), 0.1)
        found = there.hidden(torch.Size([1, 300, 500]), 0.1)
        assert found.is_cuda and torch.equal(found.cpu(), expected)
        assert 0.08 < (expected == 0).float().mean() < 0.12


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_each_run_of_a_pack_ends_as_alone(tmp_path, dropout):
    """Five runs of other terms, rates, seeds and sizes."""
    folder = tiny.checkpoint("bert", tmp_path)
    made = [
        recipe("b_v", seed=0, learning_rate=1e-3),
        recipe("b_q", seed=1, learning_rate=1e-3),
        recipe("all_biases", seed=2, learning_rate=1e-3),
        recipe("head_only", seed=3),
        recipe("b_output_norm", seed=4, learning_rate=2e-3),
    ]
    states, _ = run(folder, "cuda", made, dropout)
    encoder = load_encoder(folder, 2, dropout=dropout, device="cuda")
    for i, (one, state) in enumerate(zip(made, states, strict=True)):
        data = Data(encoded(20 + i, 10 + i), {"validation": encoded(12, 1)})
        used = engine(encoder, [one], [data.train], "cuda", True)
        (alone,) = train(used, [data], Control(None))
        used.close()
        assert_close(state, alone, 1e-3)


@pytest.mark.parametrize("technique", ["b_v", "full", "lora"])
def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path, technique):
    """Stopped after four steps and continued by a freshly loaded model; dropout is on."""
    folder, asked = tiny.checkpoint("bert", tmp_path / "model"), []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    more = {"lora_rank": 2, "lora_alpha": 4} if technique == "lora" else {}
    made = [recipe(technique, learning_rate=1e-3, **more)]
    path = tmp_path / "work" / "checkpoint.safetensors"
    (expected,), _ = run(folder, "cuda", made, 0.1)
    with pytest.raises(Interrupted):
        run(folder, "cuda", made, 0.1, control=Control(path, stop=stop))
    torch.manual_seed(99)
    (state,), _ = run(folder, "cuda", made, 0.1, control=Control(path))
    assert_close(state, expected, 1e-5)


def test_passes_that_do_not_fit_into_memory_are_split(tmp_path):
    """The process may use little more than it has: the result stays, refusals are counted."""
    folder = tiny.checkpoint("bert", tmp_path, max_position_embeddings=512)
    made = [recipe("b_v", learning_rate=1e-3, batch_size=256, epochs=1)]
    (expected,), refused = run(folder, "cuda", made, 0.1, size=1024)
    assert refused == 0
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((0.6 * peak) / total)
        (state,), refused = run(folder, "cuda", made, 0.1, size=1024)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert refused > 0
    assert_close(state, expected, 1e-3)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta-v3"])
def test_gradients_for_fisher_are_those_of_the_cpu(tmp_path, architecture):
    folder, found = tiny.checkpoint(architecture, tmp_path), []
    for device in ("cpu", "cuda"):
        encoder = load_encoder(folder, 2, device=device)
        data = kinds(encoder, encoded(9, 3))
        found.append(measure(encoder, data, device, 4, serves(encoder, device)))
    for kind, terms in vars(found[0]).items():
        for term, values in terms.items():
            if term != "k":
                np.testing.assert_allclose(
                    vars(found[1])[kind][term], values, rtol=1e-3, atol=1e-8, err_msg=term
                )


def decoder(folder, device):
    return load_decoder(folder, dropout=0.0, dtype=torch.float32, device=device)


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("more", [{"scoring": "normalised"}, {"max_new_tokens": 6}])
def test_decoders_answer_as_on_the_cpu(tmp_path, architecture, more):
    """Scores of candidates, and generated tokens."""
    folder, found = tiny.decoder_checkpoint(architecture, tmp_path), []
    given = {"precision": "float32", **more}
    for device in ("cpu", "cuda"):
        model = decoder(folder, device)
        found.append(answers(model, encode_prompts(WORDS, model.tokenizer, 64), given, device))
    if "scoring" in more:
        np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-4)
    else:
        assert np.array_equal(found[1], found[0])


@pytest.mark.parametrize("architecture", ["opt", "llama"])
@pytest.mark.parametrize("technique", ["b_v", "full"])
def test_decoders_end_as_on_the_cpu(tmp_path, architecture, technique):
    folder, ends = tiny.decoder_checkpoint(architecture, tmp_path), []
    made = [prompted(technique, learning_rate=1e-3, epochs=2)]
    for device in ("cpu", "cuda"):
        model = decoder(folder, device)
        data = encode_prompts(WORDS, model.tokenizer, 64)
        used = engine(model, made, [data], device, packs_together(made[0]))
        (state,) = train(used, [Data(data, {"validation": data})], Control(None))
        used.close()
        ends.append(state)
    assert_close(ends[1], ends[0], 1e-3)
