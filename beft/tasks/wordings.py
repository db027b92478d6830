"""Define the prompt of each task in the table of tasks."""

from beft.tasks.prompts import Prompt, classification
from beft.tasks.views import VIEWS

_ENTAILED = '{{{}}}\nQuestion: Can we conclude that "{{{}}}"? {}?\nAnswer:'
_QUESTION = "{{{}}}\nQuestion: {{question}}\nAnswer:"


def _yes_or_no(question: str, passage: str, answers=("no", "yes"), **options) -> Prompt:
    return classification(f"{question} Yes or no?\nAnswer:", passage, answers, **options)


def _generation(view: str, passage: str, metrics: tuple[str, ...]) -> Prompt:
    wording = _versioned(view, {"template": _QUESTION.format(passage), "passage": passage})
    return Prompt("generation", metrics, wording)


def _versioned(view: str, arguments: dict) -> dict:
    return {"view": view, "version": VIEWS[view].version, **arguments}


_SENTIMENT = classification("{sentence} It was", "sentence", ("terrible", "great"))
_REASON = Prompt(
    "choice",
    ("accuracy",),
    _versioned("reason", {"joints": {"cause": " because", "effect": " so"}}),
)
_EXTRACTION = _generation("extraction", "context", ("answer_f1", "exact_match"))

PROMPTS: dict[str, Prompt] = {
    "sst2": _SENTIMENT,
    "cola": _yes_or_no(
        "{sentence}\nQuestion: Is this sentence correct English?",
        "sentence",
        metrics=("matthews", "accuracy"),
    ),
    "rte": classification(
        _ENTAILED.format("sentence1", "sentence2", "Yes or no"), "sentence1", ("yes", "no")
    ),
    "qnli": _yes_or_no(
        "{sentence}\n{question}\nIs this question answered by the text?",
        "sentence",
        ("yes", "no"),
    ),
    "mnli": classification(
        _ENTAILED.format("premise", "hypothesis", "Yes, maybe or no"),
        "premise",
        ("yes", "maybe", "no"),
    ),
    "mrpc": _yes_or_no(
        "{sentence1}\n{sentence2}\nQuestion: Do both sentences say the same?",
        "sentence1",
        metrics=("f1", "accuracy"),
    ),
    "qqp": _yes_or_no(
        "{question1}\n{question2}\nQuestion: Do both questions ask the same?",
        "question1",
        metrics=("f1", "accuracy"),
    ),
    "cb": classification(
        _ENTAILED.format("premise", "hypothesis", "Yes, no or maybe"),
        "premise",
        ("yes", "no", "maybe"),
        ("accuracy", "f1_macro"),
    ),
    "wic": _yes_or_no(
        '{sentence1}\n{sentence2}\nQuestion: Does the word "{word}" have the same meaning in both '
        "sentences?",
        "sentence1",
    ),
    "wsc": _yes_or_no(
        '{text}\nQuestion: Does "*{span2_text}*" stand for "{span1_text}" here?',
        "text",
        view="pronoun",
    ),
    "boolq": _yes_or_no("{passage}\nQuestion: {question}?", "passage"),
    "multirc": _yes_or_no(
        "{paragraph}\nQuestion: {question}\nProposed answer: {answer}\nIs the proposed answer "
        "right?",
        "paragraph",
        metrics=("f1", "question_exact_match", "accuracy"),
        view="grouped",
    ),
    "copa": _REASON,
    "record": Prompt(
        "choice", ("answer_f1", "exact_match"), _versioned("cloze", {"bullet": "\n- "})
    ),
    "squad": _EXTRACTION,
    "drop": _generation(
        "reasoning",
        "passage",
        ("drop_f1", "drop_exact_match", "drop_f1_least", "drop_exact_match_least"),
    ),
    "demo_sentiment": _SENTIMENT,
    "demo_entailment": classification(
        "{sentence1}\nQuestion: {sentence2} True or false?\nAnswer:",
        "sentence1",
        ("true", "false"),
    ),
    "demo_choice": _REASON,
    "demo_answer": _EXTRACTION,
}
