"""Per-example gradients in one pass against one example at a time, and inert terms."""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded

from beft.engine import gradients
from beft.engine.batches import collate
from beft.engine.dispatch import serves
from beft.engine.encoder.gradients import log_likelihood
from beft.engine.gradients import measure
from beft.models.encoder import load_encoder
from beft.selectors.inert import inert_terms


def loop(encoder, data, batch):
    """Batch size 1, plain autograd, double sums: term -> (mean square, batch square, mean abs)."""
    wanted = {s.parameter for s in encoder.sites.sites}
    named = {n: p for n, p in encoder.model.named_parameters() if n in wanted}
    rows = []
    for i in range(len(data)):
        one = collate(data, np.array([i]), 0, "cpu")
        label = one.pop("labels")
        encoder.model.zero_grad()
        for p in named.values():
            p.requires_grad_(True)
        logits = encoder.model(**one).logits
        if logits.shape[1] == 1:
            likelihood = -((logits[0, 0] - label[0]) ** 2) / 2
        else:
            likelihood = torch.log(torch.softmax(logits[0], 0))[label[0]]
        likelihood.backward()
        rows.append({n: p.grad.double().clone() for n, p in named.items()})
    result = {}
    for term in encoder.sites.terms:
        g = torch.stack(
            [torch.stack([r[s.parameter][s.index] for s in encoder.sites.of(term)]) for r in rows]
        )
        result[term] = ((g**2).mean(0).numpy(), g.abs().mean(0).numpy())
    squares = {t: 0.0 for t in encoder.sites.terms}
    chunks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    for chunk in chunks:
        mean = {n: sum(r[n] for r in chunk) / len(chunk) for n in named}
        norm = sum((m**2).sum() for m in mean.values()).sqrt().item()
        for term in encoder.sites.terms:
            m = torch.stack([mean[s.parameter][s.index] for s in encoder.sites.of(term)])
            squares[term] = squares[term] + (m * min(1, 1 / norm)).numpy() ** 2 / len(chunks)
    return result, squares


@pytest.mark.parametrize(
    "architecture", ["bert", "roberta", "distilbert", "electra", "deberta-v3", "modernbert"]
)
@pytest.mark.parametrize(("labels", "pooling"), [(1, "first"), (3, "first"), (3, "mean")])
def test_equals_a_loop_over_single_examples(tmp_path, architecture, labels, pooling):
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), labels, pooling=pooling)
    data = encoded(7, 3, labels)
    if encoder.model.config.model_type not in ("bert", "electra"):
        data = type(data)(data.ids, None, data.labels)
    flat = serves(encoder, "cpu")
    assert flat == (architecture not in ("deberta-v3", "modernbert"))
    got = measure(encoder, data, "cpu", 4, flat)
    expected, squares = loop(encoder, data, 4)
    for term in encoder.sites.terms:
        scale = max(expected[t][0].max() for t in expected)
        np.testing.assert_allclose(
            got.mean_square[term], expected[term][0], rtol=1e-5, atol=1e-7 * scale
        )
        np.testing.assert_allclose(
            got.batch_square[term], squares[term], rtol=1e-4, atol=1e-7 * scale
        )
        np.testing.assert_allclose(got.mean_abs[term], expected[term][1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("refuses", [False, True])
def test_chunks_that_fit_into_memory_change_nothing(tmp_path, monkeypatch, refuses):
    """By measurement, or because the device refused a larger one: whole batches at a time."""
    encoder, data = load_encoder(tiny.checkpoint("bert", tmp_path), 2), encoded(13, 3)
    whole = measure(encoder, data, "cpu", 2, True)
    real, sizes = gradients.flat_gradients, []

    def flat(*arguments):
        sizes.append(len(arguments[-1]))
        if refuses and sizes[-1] > 4:
            raise torch.OutOfMemoryError("out of memory")
        return real(*arguments)

    monkeypatch.setattr(gradients, "flat_gradients", flat)
    if not refuses:
        monkeypatch.setattr(gradients, "fitting_tokens", lambda *_: 20)
    parts = measure(encoder, data, "cpu", 2, True)
    done = [n for n in sizes if not refuses or n <= 4]
    assert len(done) > 3 and all(n % 2 == 0 for n in done[:-1])
    for kind, terms in vars(whole).items():
        for term, values in terms.items():
            np.testing.assert_allclose(
                vars(parts)[kind][term], values, rtol=1e-5, atol=1e-9, err_msg=f"{kind} {term}"
            )


@pytest.mark.parametrize("flat", [True, False])
def test_measuring_changes_nothing(tmp_path, flat):
    encoder = load_encoder(tiny.checkpoint("bert", tmp_path), 2)
    encoder.model.bert.pooler.dense.bias.requires_grad_(False)
    before = {n: (p.detach().clone(), p.requires_grad) for n, p in encoder.model.named_parameters()}
    measure(encoder, encoded(5, 0), "cpu", 2, flat)
    for name, p in encoder.model.named_parameters():
        assert torch.equal(p, before[name][0]) and p.requires_grad == before[name][1]
        assert p.grad is None


# A key bias adds q_i . b_k to every score of row i, which softmax ignores, unless positions are
# mixed in per key: then (DeBERTa's position-to-content attention) it matters.
@pytest.mark.parametrize(
    ("architecture", "inert"),
    [("bert", True), ("roberta", True), ("distilbert", True), ("electra", True),
     ("deberta-v3", False), ("modernbert", False)],
)  # fmt: skip
def test_key_biases_are_inert_without_relative_positions(tmp_path, architecture, inert):
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), 2)
    data = encoded(8, 0)
    if encoder.model.config.model_type not in ("bert", "electra"):
        data = type(data)(data.ids, None, data.labels)
    flat = serves(encoder, "cpu")
    found = inert_terms(measure(encoder, data, "cpu", 8, flat).mean_abs)
    assert set(found) == ({"k"} if inert else set())
    if inert:
        assert "gradient" in found["k"]


def test_nothing_is_inert_when_no_term_has_a_gradient():
    zero = {t: np.zeros((2, 3)) for t in "qkv"}
    assert inert_terms(zero) == {}


def test_log_likelihood_by_hand():
    """log(e^0 / (e^0 + e^log3)) = log(1/4); a Gaussian of unit variance: -(3 - 1)^2 / 2 = -2."""
    logits = torch.tensor([[0.0, np.log(3.0)]])
    assert log_likelihood(logits, torch.tensor([0])).item() == pytest.approx(np.log(0.25))
    assert log_likelihood(torch.tensor([[3.0]]), torch.tensor([1.0])).item() == -2.0
