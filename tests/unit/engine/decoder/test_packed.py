"""Rows of a decoder: candidates as branches, packs, generation, against the model as it is."""

import json

import numpy as np
import pytest
import torch
from support import tiny
from support.recipes import prompted

import beft.engine.decoder.losses
import beft.engine.decoder.rows
from beft.data.prompts import ABSENT, encode_prompts
from beft.data.references import evaluated_rows
from beft.engine.decoder.answer import answers
from beft.engine.decoder.check import check_rows
from beft.engine.decoder.generate import generate, newline_ids
from beft.engine.decoder.likelihood import candidate_scores
from beft.engine.decoder.losses import share_losses
from beft.engine.decoder.packed import Prompted
from beft.engine.decoder.rows import arrange, items, shelves
from beft.engine.decoder.single import SinglePrompted
from beft.engine.dispatch import engine
from beft.engine.gradients import measure
from beft.engine.shares import Share
from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.selectors.inert import inert_terms
from beft.tasks.words import Words

NAMED = [
    *("opt", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"),
    *("phi", "phi3", "gpt_bigcode"),
]


@pytest.fixture(params=[16, 256])
def width(request, monkeypatch):
    """Rows that hold one example each, and rows that hold several."""
    monkeypatch.setattr(beft.engine.decoder.rows, "WIDTH", request.param)


VERDICT = (" terrible", " great")
WORDS = [
    Words("", "the film was very good and the man likes it", " It was", VERDICT, (1,)),
    Words("", "a dog", " It was", VERDICT, (0,)),
    Words("", "the story is not dull but it is not great", " It was", VERDICT, (1,)),
    Words("", "this plot sleeps with a cat in it", " It was", VERDICT, (0,)),
    Words("", "never a good actor", " It was", VERDICT, (0,)),
]
CHOICE = [
    Words("", "the man sees a dog", " so", (" it runs to the man", " the plot is fine"), (0,)),
    Words("", "the cat sleeps", " because", (" it is", " the woman likes it very", " no"), (1,)),
]


def decoder(folder, architecture="opt", dtype=torch.float32, **changes):
    return load_decoder(tiny.decoder_checkpoint(architecture, folder, **changes), dtype=dtype)


def encoded(model, words=WORDS, length=64, **more):
    return encode_prompts(words, model.tokenizer, length, **more)


@torch.no_grad()
def one_by_one(model, data):
    """Each candidate alone behind its prompt, as Hugging Face computes it."""
    found = []
    for prompt, own in zip(data.prompts, data.answers, strict=True):
        for tokens in own:
            logits = model.model(torch.tensor([prompt + tokens])).logits[0]
            each = logits[len(prompt) - 1 : -1].log_softmax(-1)
            found.append(float(each[range(len(tokens)), tokens].sum()))
    return found


@pytest.mark.parametrize("architecture", NAMED)
@torch.no_grad()
def test_candidates_in_one_pass_are_as_one_by_one(tmp_path, architecture):
    model = decoder(tmp_path, architecture)
    data = encoded(model, [*WORDS, *CHOICE])
    rows = arrange(items(data, range(len(data))), "cpu")
    assert len(rows.ids) < len(data)  # several examples in a row, or this would prove little
    found = candidate_scores(model.model, rows)
    np.testing.assert_allclose(found, one_by_one(model, data), atol=1e-4)
    check_rows(model, "cpu", "tiny")


@pytest.mark.parametrize("architecture", ["mpt", "bloom", "falcon", "gpt_neo"])
def test_models_with_positions_of_their_own_are_refused(tmp_path, architecture):
    with pytest.raises(UserError, match=architecture):
        check_rows(decoder(tmp_path, architecture), "cpu", "tiny")


def test_scores_are_normalised_plain_or_calibrated(tmp_path):
    model = decoder(tmp_path)
    data = encoded(model, CHOICE)
    sums = one_by_one(model, data)
    given = {"precision": "float32"}
    plain = answers(model, data, given | {"scoring": "plain"}, "cpu")
    assert plain.shape == (2, 3) and plain[0, 2] == np.float32(ABSENT)
    np.testing.assert_allclose([*plain[0, :2], *plain[1]], sums, atol=1e-4)
    each = answers(model, data, given | {"scoring": "normalised"}, "cpu")
    lengths = [len(tokens) for own in data.answers for tokens in own]
    expected = np.array(sums) / lengths
    np.testing.assert_allclose([*each[0, :2], *each[1]], expected, atol=1e-4)
    bare = encoded(model, [Words("", "", w.after.strip(), w.answers, w.gold) for w in CHOICE])
    calibrated = answers(model, data, given | {"scoring": "calibrated"}, "cpu")
    expected = (np.array(sums) - one_by_one(model, bare)) / lengths
    np.testing.assert_allclose([*calibrated[0, :2], *calibrated[1]], expected, atol=1e-4)
    np.testing.assert_array_equal(data.decide(each), [np.argmax(each[0, :2]), np.argmax(each[1])])


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama", "gpt_neox"])
@torch.no_grad()
def test_generation_in_batches_is_that_of_each_alone(tmp_path, architecture):
    model = decoder(tmp_path, architecture)
    data = encoded(model, [*WORDS, *CHOICE])
    stop = newline_ids(model.tokenizer)
    some = model.model.generate(torch.tensor([data.prompts[0]]), do_sample=False, max_new_tokens=3)
    stop = [*stop, int(some[0, -1])]  # a token that does come, so that rows end at different times
    found = generate(model.model, data.prompts, stop, 12, "cpu")
    for prompt, tokens in zip(data.prompts, found, strict=True):
        whole = model.model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=stop
        )
        expected = whole[0, len(prompt) :].tolist()
        assert tokens == (expected[:-1] if expected[-1] in stop else expected)
    assert len({len(tokens) for tokens in found}) > 1


@pytest.mark.parametrize("more", [{"scoring": "normalised"}, {"max_new_tokens": 4}])
def test_a_refused_pass_is_answered_in_smaller_ones(tmp_path, more, monkeypatch):
    model = decoder(tmp_path)
    data, given = encoded(model, [*WORDS, *CHOICE]), {"precision": "float32", **more}
    expected = answers(model, data, given, "cpu")
    real, refused = model.model.forward, []

    def forward(**arguments):
        if arguments["input_ids"].numel() > 60:
            refused.append(arguments["input_ids"].numel())
            raise torch.OutOfMemoryError("no")
        return real(**arguments)

    monkeypatch.setattr(model.model, "forward", forward)
    np.testing.assert_allclose(answers(model, data, given, "cpu"), expected, atol=1e-4)
    assert refused


def test_newlines_end_an_answer(tmp_path):
    tokenizer = decoder(tmp_path).tokenizer
    stop = newline_ids(tokenizer)
    assert set(tokenizer("\n", add_special_tokens=False)["input_ids"]) <= set(stop)
    assert tokenizer.eos_token_id in stop
    assert all("\n" in tokenizer.decode([i]) for i in stop if i != tokenizer.eos_token_id)


def settings(**more):
    return prompted("b_v", **more).training


@pytest.mark.parametrize("objective", ["cross_entropy_over_candidates", "language_model_on_answer"])
def test_losses_are_those_of_the_model_itself(tmp_path, objective):
    model = decoder(tmp_path, "llama")
    data = encoded(model, CHOICE)
    share = Share(0, data, np.arange(2))
    with share_losses(model, [share], [7], settings(objective=objective), "cpu") as losses:
        found = losses.detach()
    sums = iter(one_by_one(model, data))
    expected = []
    for words, own in zip(CHOICE, data.answers, strict=True):
        each = np.array([next(sums) / len(tokens) for tokens in own])
        right = each[words.gold[0]]
        over = np.log(np.exp(each).sum()) if objective.startswith("cross") else 0.0
        expected.append(over - right)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama", "gpt_neox", "qwen2"])
@pytest.mark.parametrize("technique", ["b_v", "all_biases"])
def test_a_pack_trains_each_run_as_if_alone(tmp_path, architecture, technique, width):
    """Against the engine that trains the model's own parameters, which knows no slots."""
    model = load_decoder(tiny.decoder_checkpoint(architecture, tmp_path), dropout=0.0)
    data = encoded(model)
    recipes = [prompted(technique, seed=1), prompted("b_q", seed=2), prompted(technique, seed=3)]
    batches = [{0: np.array([0, 1]), 1: np.array([2, 3, 4]), 2: np.array([4])} for _ in range(3)]
    pack = Prompted(model, recipes, [data] * 3, "cpu")
    pack.measured = True
    losses = [pack.step(b, {0: 1, 1: 2, 2: 3}) for b in batches]
    after = [pack.snapshot(run) for run in range(3)]
    scores = pack.predict(data, [0, 1, 2])
    for run, recipe in enumerate(recipes):
        alone = SinglePrompted(model, [recipe], [data], "cpu")
        for step, b in enumerate(batches):
            loss = alone.step({0: b[run]}, {0: run + 1})[0]
            assert loss == pytest.approx(losses[step][run], abs=2e-4)
        own = alone.snapshot(0)
        for term, values in own.items():
            # Where few or no positions are rotary, k is inert: rounding walks.
            if term != "k" or architecture in ("llama", "qwen2"):
                torch.testing.assert_close(after[run][term], values, rtol=0, atol=2e-3)
        np.testing.assert_allclose(scores[run], alone.predict(data, [0])[0], atol=2e-2)
        alone.close()
    assert not torch.equal(after[0]["v"], after[1]["v"])
    assert torch.equal(after[1]["v"], pack.pretrained["v"])


def test_a_batch_that_is_cut_gives_the_same_update(tmp_path):
    model = decoder(tmp_path)
    data, found = encoded(model), []
    assert model.model.config.dropout > 0  # its masks must not depend on the cut
    for tokens in (2048, 20):
        pack = Prompted(model, [prompted("b_v"), prompted("b_q")], [data] * 2, "cpu")
        pack.measured, pack.passes.tokens = True, tokens
        batches = {0: np.arange(5), 1: np.array([3, 1, 2, 0])}
        pack.step(batches, {0: 3, 1: 4})
        found.append((pack.theta.clone(), pack.optimizer.mean.clone()))
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("technique", ["full", "lora", "prefix"])
def test_a_pass_refused_halfway_back_leaves_nothing_behind(tmp_path, technique, monkeypatch):
    """Memory runs out in the backward pass, once: the update is that of an undisturbed step."""
    model = load_decoder(tiny.decoder_checkpoint("opt", tmp_path), dropout=0.0)
    data, found, real = encoded(model), [], torch.autograd.grad
    more = {"lora_rank": 8, "lora_alpha": 16, "prefix_tokens": 5}
    for refusals in (0, 1):
        left = [refusals]

        def grad(*arguments, left=left, **named):
            result = real(*arguments, **named)
            if left[0]:
                left[0] -= 1
                raise torch.OutOfMemoryError("no")
            return result

        monkeypatch.setattr(torch.autograd, "grad", grad)
        made = SinglePrompted(model, [prompted(technique, **more)], [data], "cpu")
        made.step({0: np.arange(5)}, {0: 1})
        found.append([m["exp_avg"].clone() for m in made.optimizer.state.values()])
        made.close()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama"])
def test_a_prefix_with_dropout_of_attention(tmp_path, architecture):
    model = load_decoder(tiny.decoder_checkpoint(architecture, tmp_path), dropout=0.3)
    made = SinglePrompted(model, [prompted("prefix", prefix_tokens=5)], [encoded(model)], "cpu")
    losses = [made.step({0: np.arange(5)}, {0: i})[0] for i in range(10)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    made.close()


def test_no_layer_is_left_out(tmp_path):
    """OPT's LayerDrop would draw from a random state that no recipe knows."""
    folder = tiny.decoder_checkpoint("opt", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layerdrop": 0.9}))
    for dropout in (None, 0.3):
        assert load_decoder(folder, dropout=dropout).model.config.layerdrop == 0.0


@pytest.mark.parametrize(
    "more", [{"scoring": "normalised"}, {"scoring": "calibrated"}, {"max_new_tokens": 4}]
)
def test_outputs_that_are_not_finite_stay_so(tmp_path, more):
    model = decoder(tmp_path)
    with torch.no_grad():
        model.model.get_parameter(model.sites.of("v")[0].parameter).fill_(float("nan"))
    found = answers(model, encoded(model), {"precision": "float32", **more}, "cpu")
    assert not np.isfinite(found).all()


@pytest.mark.parametrize("technique", ["b_v", "lora"])
def test_where_one_example_does_not_fit_layers_are_computed_twice(tmp_path, technique, monkeypatch):
    """Refused until every pass has one example, and once more: the same update after all."""
    model = load_decoder(tiny.decoder_checkpoint("llama", tmp_path), dropout=0.0)
    data, found = encoded(model), []
    real = beft.engine.decoder.losses.candidate_scores
    for most in (2048, 0):

        def scores(model, rows, cache=None, most=most):
            if not model.is_activation_checkpointing and rows.ids.numel() > most:
                raise torch.OutOfMemoryError("no")
            return real(model, rows, cache)

        monkeypatch.setattr(beft.engine.decoder.losses, "candidate_scores", scores)
        recipes = [prompted(technique, lora_rank=8, lora_alpha=16)]
        made = engine(model, recipes, [data], "cpu", True)
        made.measured = True
        for _ in range(2):
            loss = made.step({0: np.arange(5)}, {0: 1})[0]
        assert model.model.is_activation_checkpointing == (most == 0)
        found.append((loss, made.predict(data, [0])[0]))
        made.close()
        assert not model.model.is_activation_checkpointing
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


def test_dropout_has_its_share_and_follows_the_seed(tmp_path):
    model = decoder(tmp_path, dropout=0.5)
    data = encoded(model)
    share = [Share(0, data, np.arange(5))]
    losses = []
    for seed in (1, 1, 2):
        with share_losses(model, share, [seed], settings(), "cpu") as each:
            losses.append(each.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    assert not torch.allclose(losses[0], losses[2], atol=1e-4)
    assert not model.model.training


@pytest.mark.parametrize("architecture", ["opt", "gpt_neox", "llama"])
def test_gradients_are_those_of_each_example_alone(tmp_path, architecture, width):
    model = decoder(tmp_path, architecture)
    data = encoded(model)
    found = measure(model, data, "cpu", 2, True)
    parameters = {s.parameter for s in model.sites.sites}
    sums = {n: 0.0 for n in parameters}
    for row in range(len(data)):
        model.model.zero_grad()
        for name in parameters:
            model.model.get_parameter(name).requires_grad_(True)
        each = []
        for tokens in data.answers[row]:
            prompt = data.prompts[row]
            logits = model.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
            each.append(logits.log_softmax(-1)[range(len(tokens)), tokens].mean())
        torch.stack(each).log_softmax(0)[data.gold(row)].backward()
        for name in parameters:
            sums[name] = sums[name] + model.model.get_parameter(name).grad ** 2 / len(data)
    for site in model.sites.sites:
        expected = sums[site.parameter].numpy()
        expected = expected if site.rows is None else expected[site.rows.index()]
        np.testing.assert_allclose(
            found.mean_square[site.term][site.layer], expected, rtol=1e-3, atol=1e-9
        )
    assert ("k" in inert_terms(found.mean_abs)) == (architecture == "opt")


@pytest.mark.parametrize("technique", ["lora", "lora_k", "prefix", "full", "random_uniform"])
@pytest.mark.parametrize("architecture", ["opt", "llama"])
def test_every_technique_learns_and_leaves_the_model_as_it_was(tmp_path, architecture, technique):
    model = decoder(tmp_path, architecture)
    data = encoded(model)
    before = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    more = {"lora_rank": 8, "lora_alpha": 16, "prefix_tokens": 5}
    made = SinglePrompted(
        model, [prompted(technique, learning_rate=1e-2, dropout=0.0, **more)], [data], "cpu"
    )
    start = made.predict(data, [0])[0]
    losses = [made.step({0: np.arange(5)}, {0: i})[0] for i in range(12)]
    assert min(losses[-3:]) < losses[0]
    assert not np.allclose(start, made.predict(data, [0])[0], atol=1e-4)
    state = made.state()
    again = made.predict(data, [0])[0]
    made.step({0: np.arange(5)}, {0: 1})
    made.load(state)
    np.testing.assert_allclose(made.predict(data, [0])[0], again, atol=1e-6)
    made.close()
    after = dict(model.model.named_parameters())
    assert set(after) == set(before)
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_long_passages_lose_their_beginning_alone(tmp_path):
    model = decoder(tmp_path)
    words = Words(
        "Question: ", "the film was very good and the man likes it", " It was", VERDICT, (1,)
    )
    whole = encoded(model, [words]).prompts[0]
    short = encoded(model, [words], length=len(whole) - 3 + 1).prompts[0]
    text = model.tokenizer.decode(short, skip_special_tokens=True)
    assert text == "Question: very good and the man likes it It was"
    assert len(short) == len(whole) - 3 and short[0] == whole[0]
    assert text.startswith("Question:")
    with pytest.raises(UserError, match=r"row 0: .*without the passage"):
        encoded(model, [words], length=5)


def test_demonstrations_as_many_as_fit(tmp_path):
    """Their tokens are counted here by the tokenizer alone: all of them, then with less room."""
    model = decoder(tmp_path)
    plain = encoded(model, WORDS[:1])
    shown = encoded(model, WORDS[:1], length=200, demonstrations=WORDS[1:])
    text = model.tokenizer.decode(shown.prompts[0], skip_special_tokens=True)
    told = [w.passage + w.after + w.answers[w.gold[0]] for w in WORDS[1:]]
    asked = WORDS[0].passage + WORDS[0].after
    assert text == "\n\n".join([*told, asked])
    assert shown.demonstrated == [4] and plain.demonstrated == []
    needs = [len(model.tokenizer(f"{t}\n\n", add_special_tokens=False)["input_ids"]) for t in told]
    first, _, _, last = needs
    assert sorted(needs)[:2] == sorted([first, last])  # "a dog" and "never a good actor"
    room = len(plain.prompts[0]) + 1  # the answer has one token

    def few(left: int) -> tuple[str, list[int]]:
        made = encoded(model, WORDS[:1], length=room + left, demonstrations=WORDS[1:])
        assert len(made.prompts[0]) <= room - 1 + left
        return model.tokenizer.decode(made.prompts[0], skip_special_tokens=True), made.demonstrated

    # the first and the last of the order; a long one stands between them
    assert few(first + last) == (f"{told[0]}\n\n{told[3]}\n\n{asked}", [2])
    assert few(first + last - 1) == (f"{told[0]}\n\n{asked}", [1])
    assert few(first - 1) == (asked, [0])
    assert few(0) == (asked, [0])


def test_each_prompt_has_room_of_its_own(tmp_path):
    model = decoder(tmp_path)
    data = encoded(model, WORDS, length=18, demonstrations=WORDS[1:2])
    lengths = [len(p) for p in encoded(model, WORDS, length=18).prompts]
    (need,) = {len(d) - n for d, n in zip(data.prompts, lengths, strict=True)} - {0}
    assert data.demonstrated == [int(n + 1 + need <= 18) for n in lengths]
    assert set(data.demonstrated) == {0, 1}
    assert data.take(np.array([4, 0])).demonstrated == [data.demonstrated[r] for r in (4, 0)]


def test_a_generated_answer_is_trained_to_end(tmp_path):
    """Tuned on one answer, the model gives it, and nothing behind it."""
    model = load_decoder(tiny.decoder_checkpoint("llama", tmp_path), dropout=0.0)
    words = [Words("", "the dog", " It was", (" a good cat",), (0,))]
    data = encoded(model, words, end="\n")
    more = {"objective": "language_model_on_answer", "learning_rate": 3e-2, "max_new_tokens": 9}
    made = SinglePrompted(model, [prompted("full", **more)], [data], "cpu")
    for step in range(30):
        made.step({0: np.array([0])}, {0: step})
    tokens = made.predict(data, [0])[0]
    expected = model.tokenizer(" a good cat", add_special_tokens=False)["input_ids"]
    assert tokens[0].tolist() == expected + [-1] * (9 - len(expected))
    assert data.evaluate(tokens, ["exact_match"]) == {"exact_match": 1.0}
    made.close()


def test_rows_are_filled_first_fit():
    assert shelves([25, 50, 12, 14]) == [[1, 3], [0, 2]]
    assert shelves([300, 10]) == [[0], [1]]


def test_groups_are_evaluated_whole():
    words = [Words("", "", "", ("a",), (0,), group=f"q{i // 3}") for i in range(30)]
    rows = evaluated_rows(words, 7, "multirc")
    assert len(rows) == 9 and rows == sorted(rows)
    assert {i // 3 * 3 for i in rows} == set(rows[::3])
    assert evaluated_rows(words, 7, "multirc") == rows != evaluated_rows(words, 7, "other")
    assert evaluated_rows(words, "all", "t") == list(range(30))
