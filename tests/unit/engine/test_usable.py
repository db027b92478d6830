"""What fetching a model finds out about it, so that no job has to."""

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from support import tiny
from transformers import AutoModelForCausalLM, GptOssConfig

from beft.engine import usable
from beft.engine.usable import check_usable
from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.study import params as P

ENCODER, DECODER = P.Model(path="m", kind="encoder"), P.Model(path="m", kind="decoder")
UNSAID = P.Model(path="m")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pristine checkpoint of an architecture, built once."""
    folders = {}

    def make(architecture: str) -> Path:
        if architecture not in folders:
            write = tiny.checkpoint
            if architecture in tiny.DECODERS:
                write = tiny.decoder_checkpoint
            folders[architecture] = write(architecture, tmp_path_factory.mktemp(architecture))
        return folders[architecture]

    return make


def without_tokenizer(folder: Path) -> Path:
    for file in folder.glob("*token*"):
        file.unlink()
    return folder


def refused(folder: Path, model: P.Model, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        check_usable(folder, "models.m", model)
    assert str(error.value).startswith("models.m: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v3", "distilbert", "mpnet"])
def test_encoders_need_not_say_what_they_are(made, architecture):
    check_usable(made(architecture), "models.m", UNSAID)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama", "qwen2"])
def test_a_causal_model_has_to_say_what_it_is(made, architecture):
    refused(made(architecture), UNSAID, rf"'{architecture}' is a causal .*add 'kind: decoder' to")
    check_usable(made(architecture), "models.m", DECODER)


def test_a_causal_model_can_be_asked_for_as_an_encoder(made):
    check_usable(made("opt"), "models.m", ENCODER)


def test_an_encoder_is_no_decoder(made):
    refused(made("bert"), DECODER, "'bert' is an encoder.*remove 'kind: decoder'")


@pytest.mark.parametrize("architecture", ["bloom", "mpt", "gpt_neo"])
def test_decoders_that_cannot_be_computed_in_rows_are_refused(made, architecture):
    refused(made(architecture), DECODER, f"'{architecture}' does not take given positions")


@pytest.mark.parametrize("value", [{"a": 1}, 3, None])
def test_a_setting_that_the_model_does_not_read_changes_nothing(made, tmp_path, value):
    folder = Path(shutil.copytree(made("gpt2"), tmp_path / "m"))
    content = json.loads((folder / "config.json").read_text()) | {"head_dim": value}
    (folder / "config.json").write_text(json.dumps(content))
    check_usable(folder, "models.m", DECODER)


def test_what_the_search_for_biases_raises_is_one_line(made, monkeypatch):
    def search(*given: object, **settings: object) -> None:
        raise TypeError("unsupported operand")

    monkeypatch.setattr(usable, "load_decoder", search)
    refused(made("gpt2"), DECODER, r"config\.json does not describe this model \(TypeError")


def test_a_large_model_computes_nothing(made, monkeypatch):
    monkeypatch.setattr(usable, "TRIED", 0)
    check_usable(made("bloom"), "models.m", DECODER)


def test_weights_whose_output_is_not_finite_are_refused(tmp_path):
    folder = tiny.checkpoint("bert", tmp_path)
    name = "embeddings.LayerNorm.weight"
    weights = load_file(folder / "model.safetensors")
    weights[name] = torch.full_like(weights[name], 3e38)
    weights["embeddings.LayerNorm.bias"] = torch.full_like(weights[name], 3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, UNSAID, "what it computes of a text is not finite")


CORPUS = [f"{a} {b} {c}" for a in tiny.WORDS for b in ("film", "good") for c in tiny.WORDS[:9]]


def sentencepiece_model(folder: Path, name: str, **settings: object) -> Path:
    """A tokenizer that is this one file, trained on a few sentences."""
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "m"), vocab_size=400,
        hard_vocab_limit=False, minloglevel=2, normalization_rule_name="identity",
        remove_extra_whitespaces=False, **settings,
    )  # fmt: skip
    (folder / "m.model").rename(folder / name)
    for rest in ("corpus.txt", "m.vocab"):
        (folder / rest).unlink()
    return folder / name


def test_deberta_v3_as_published_has_the_tokens_of_sentencepiece(tmp_path):
    folder = without_tokenizer(tiny.checkpoint("deberta-v3", tmp_path, vocab_size=500))
    pieces = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
    ids = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    file = sentencepiece_model(folder, "spm.model", unk_piece="[UNK]", **pieces, **ids)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    check_usable(folder, "models.m", UNSAID)
    tokenizer = load_encoder(folder, 2).tokenizer
    plain = sentencepiece.SentencePieceProcessor(model_file=str(file))
    for text in ("the film is good", "a cat sees the plot"):
        assert tokenizer(text).input_ids == [1, *plain.encode(text), 2]


def test_llama_as_published_has_the_tokens_of_sentencepiece(tmp_path):
    folder = tmp_path
    tiny.decoder_checkpoint("llama", folder, vocab_size=500, bos_token_id=1, eos_token_id=2)
    file = sentencepiece_model(
        without_tokenizer(folder), "tokenizer.model", model_type="bpe", byte_fallback=True
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    check_usable(folder, "models.m", DECODER)
    tokenizer = load_decoder(folder).tokenizer
    plain = sentencepiece.SentencePieceProcessor(model_file=str(file))
    for text in ("the film is good", "Café, 漢字?\n\nIt was", "two  spaces "):
        assert tokenizer(text).input_ids == [1, *plain.encode(text)]
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("files", "settings", "words"),
    [
        ({"vocab.txt": "a 1\n", "bpe.codes": ""}, "BertweetTokenizer", "a tokenizer.json or a sen"),
        ({"vocab.txt": "[PAD]\n[UNK]\nfilm\n"}, "GPT2Tokenizer", r"needs vocab\.json or tok"),
        ({"vocab.json": "{}"}, "GPT2Tokenizer", "its tokenizer is not usable"),
        ({"vocab.txt": "film\n"}, "T5Tokenizer", r"needs spiece\.model or tokenizer\.json"),
        ({"vocab.txt": ""}, "NoSuchTokenizer", "its tokenizer is not usable"),
        ({"spm.model": "junk"}, "DebertaV2Tokenizer", "its tokenizer is not usable"),
        ({"tokenizer.json": "null"}, None, "its tokenizer is not usable"),
        ({"README.md": "none"}, None, "its tokenizer is missing"),
    ],
)
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_other_tokenizers_are_refused(made, tmp_path, kind, files, settings, words):
    name = "bert" if kind == "encoder" else "opt"
    folder = without_tokenizer(Path(shutil.copytree(made(name), tmp_path / "m")))
    for file, content in files.items():
        (folder / file).write_text(content)
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": settings}))
    refused(folder, P.Model(path="m", kind=kind), words)


def test_prompts_need_a_tokenizer_that_tells_where_tokens_lie(made, tmp_path):
    folder = without_tokenizer(Path(shutil.copytree(made("opt"), tmp_path / "m")))
    (folder / "vocab.txt").write_text("<pad>\n<unk>\n<cls>\n<eos>\n<mask>\nT\nh\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "EsmTokenizer"}')
    refused(folder, DECODER, "a EsmTokenizer, does not tell where a token lies in a text")


def test_biases_of_routers_are_no_terms_and_are_named(tmp_path, caplog):
    tokenizer = tiny.decoder_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 4}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = GptOssConfig(vocab_size=len(tokenizer), **sizes, **heads, **special)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tiny.randomize(model).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    caplog.set_level("INFO", "beft")
    check_usable(tmp_path, "models.m", DECODER)
    assert "not tuned, as no linear and no norm adds them: mlp.router.bias" in caplog.text
    assert load_decoder(tmp_path).sites.terms == ("q", "k", "v", "attention_output")
