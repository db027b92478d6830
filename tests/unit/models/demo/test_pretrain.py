"""The shipped demo decoders: they belong to their script and corpus, and know its language."""

import hashlib
import json
from functools import cache
from itertools import islice

import pytest
import torch
from support.demo_texts import texts
from transformers import AutoModelForCausalLM, AutoTokenizer

from beft.models.decoder import load_decoder
from beft.models.demo import corpus, pretrain
from beft.tasks.demo import lexicon as lex

# Parameters by hand. OPT: embeddings 2,048 x 128, 514 positions, and in each of 6 layers four
# projections, 128 -> 512 -> 128 and two LayerNorms, all with biases; a last LayerNorm. Llama: the
# same embeddings, q and o, k and v of half the width, three 128 x 384, two norms without bias.
_OPT = (2048 + 514) * 128 + 6 * (4 * 129 * 128 + 129 * 512 + 513 * 128 + 4 * 128) + 2 * 128
_LLAMA = 2048 * 128 + 6 * (3 * 128 * 128 + 3 * 128 * 384 + 2 * 128) + 128
PARAMETERS = {"opt": _OPT, "llama": _LLAMA}
KINDS = sorted(PARAMETERS)
# The script that trained the weights -> the script today, which computes the same: only the names
# of imported modules, three type annotations and the line breaks of the first log differ. The log
# cannot say so itself: it is part of the weights' identity, and so of the digest of every run that
# used them.
TODAY = {
    "cbdf766ae2d92f78764e6b8c35267afc2ae3b51bb99f11f63304960b2f928da5": (
        "2ecb3af03d12e8f2542ec7bf59ff13b8ecdb95e24257955869999766e6ef11f5"
    ),
}


@cache
def loaded(kind):
    model = AutoModelForCausalLM.from_pretrained(pretrain.HERE / kind, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(pretrain.HERE / kind)


def log(kind):
    return json.loads((pretrain.HERE / kind / "training.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_log_belongs_to_weights_script_and_corpus(kind):
    # Who edits script or corpus trains anew: `python -m beft.models.demo.pretrain`.
    said = log(kind)
    weights = (pretrain.HERE / kind / "model.safetensors").read_bytes()
    assert said["sha256"] == hashlib.sha256(weights).hexdigest()
    assert TODAY[said["script"]] == pretrain.script_digest()
    assert said["corpus"] == corpus.corpus_digest()
    assert said["settings"] == pretrain.SETTINGS


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_small_and_of_the_architecture(kind):
    model, _ = loaded(kind)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[kind]
    assert log(kind)["parameters"] == PARAMETERS[kind]
    assert sum(file.stat().st_size for file in (pretrain.HERE / kind).iterdir()) < 4_000_000
    biased = [n for n, _ in model.named_parameters() if n.endswith("bias")]
    assert len(biased) == (6 * 8 + 1 if kind == "opt" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_on_fresh_documents_is_as_logged(kind):
    model, tokenizer = loaded(kind)
    losses = pretrain.sample_losses(model, tokenizer, "fresh", rows=96)
    assert losses["loss"] == pytest.approx(log(kind)["loss"], abs=0.05)
    assert losses["taught_loss"] == pytest.approx(log(kind)["taught_loss"], abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_is_loaded_with_q_k_and_v(kind):
    found = load_decoder(pretrain.HERE / kind)
    assert {term: len(found.sites.of(term)) for term in "qkv"} == dict.fromkeys("qkv", 6)
    assert len(found.added) == (0 if kind == "opt" else 18)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_knows_the_words_and_encodes_any_text(kind):
    _, tokenizer = loaded(kind)
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [0, 1, 2]
    for text in ("Sœur 你好 🙂\ttab\n", "The plot was great It was", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 1
        assert tokenizer.decode(ids[1:]) == text
    for word in (*lex.POSITIVE, *lex.NEGATIVE, "true", "false"):
        assert len(tokenizer(f" {word}")["input_ids"]) == 2, word


@cache
def sample(count):
    return tuple(islice(corpus.documents("test"), count))


def test_parts_of_a_document_are_tokens_of_the_whole():
    _, tokenizer = loaded("opt")
    for document in sample(1000):
        ids, weights = pretrain._encode(tokenizer, document)
        assert ids == [*tokenizer(document.text)["input_ids"], tokenizer.eos_token_id]
        assert len(weights) == len(ids)


def test_corpus_holds_no_validation_text():
    written = "\n".join(document.text for document in sample(20000))
    for task in ("demo_sentiment", "demo_entailment", "demo_acceptability"):
        held = [row for row in texts(task, "validation") if all(text in written for text in row)]
        assert not held


def test_corpus_keeps_the_prompts_frames_free_of_meaning():
    # In a prompt's frame nothing is taught: what follows is drawn regardless of what came before.
    frames = (" It was ", "True or false?", " because ", "\nQuestion: ")
    framed = [d for d in sample(20000) if any(frame in d.text for frame in frames)]
    assert len(framed) > 1000
    assert all(len(document.parts) == 1 for document in framed)
