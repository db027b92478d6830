"""Which columns are taken, and when the user is asked."""

import pytest

from beft.errors import UserError
from beft.tuning.columns import guess
from beft.tuning.examples import Columns
from beft.tuning.files import from_frame, read_file

N = 40
TEXT = [f"some words about thing {row}" for row in range(N)]
LONG = [f"many more words, about this and that and the other thing {row}" for row in range(N)]
IDS = list(range(100, 100 + N))
CODES = [f"r-{row}" for row in range(N)]
CLASS = ["good" if row % 2 else "bad" for row in range(N)]
STARS = [1 + row % 5 for row in range(N)]
DATES = [f"2024-05-{1 + row % 9:02}" for row in range(N)]
SCORE = [0.25 * row for row in range(N)]
PAIR = ("bad", "good")
FIVE = ("1", "2", "3", "4", "5")
NUMBERS = Columns(("said",), "stars", ())


def columns(table: dict, **given) -> Columns:
    return guess(from_frame(table, "data"), **given)


@pytest.mark.parametrize(
    ("table", "texts", "label", "classes"),
    [
        ({"id": IDS, "review": TEXT, "stars": STARS}, ("review",), "stars", FIVE),
        ({"Text": TEXT, "Label": CLASS}, ("Text",), "Label", PAIR),
        ({"premise": TEXT, "hypothesis": LONG, "label": CLASS},
         ("premise", "hypothesis"), "label", PAIR),
        ({"idx": IDS, "sentence2": TEXT, "sentence1": LONG, "score": SCORE},
         ("sentence1", "sentence2"), "score", ()),
        ({"question": TEXT, "sentence": LONG, "label": CLASS},
         ("question", "sentence"), "label", PAIR),
        ({"question": TEXT, "label": CLASS}, ("question",), "label", PAIR),
        # by content
        ({"": IDS, "what": CLASS, "said": TEXT}, ("said",), "what", PAIR),
        ({"code": CODES, "number": IDS, "said": TEXT, "what": CLASS}, ("said",), "what", PAIR),
        ({"title": TEXT, "said": LONG, "what": STARS}, ("said",), "what", FIVE),
        ({"said": TEXT, "worth": SCORE}, ("said",), "worth", ()),
        ({"word": CODES, "what": CLASS}, ("word",), "what", PAIR),
        ({"said": TEXT, "what": ["good"] * N}, ("said",), "what", ("good",)),
        # a sure name beside another one
        ({"text": TEXT, "review": LONG, "label": CLASS, "stars": STARS}, ("text",), "label", PAIR),
        ({"text": TEXT, "label": CLASS, "label_text": CLASS}, ("text",), "label", PAIR),
        # dates are none, nor are they texts
        ({"on": DATES, "said": TEXT, "what": CLASS}, ("said",), "what", PAIR),
        ({"at": [f"{day} 10:15" for day in DATES], "said": TEXT, "what": CLASS},
         ("said",), "what", PAIR),
        ({"am": [".".join(reversed(day.split("-"))) for day in DATES], "said": TEXT, "what": CLASS},
         ("said",), "what", PAIR),
        # what is always the same is no label
        ({"text": TEXT, "what": CLASS, "source": ["web"] * N}, ("text",), "what", PAIR),
    ],
)  # fmt: skip
def test_columns_by_name_and_by_content(table, texts, label, classes):
    assert columns(table) == Columns(texts, label, classes)


@pytest.mark.parametrize(
    ("table", "question", "shown"),
    [
        ({"text": TEXT, "stars": STARS, "sentiment": CLASS}, "the label",
         ["stars: 1", "sentiment: bad"]),
        ({"text": TEXT, "a": CLASS, "b": STARS}, "the label", ["a: bad", "b: 1"]),
        ({"text": TEXT, "a": CLASS, "price": SCORE}, "the label", ["a: bad", "price: 0.0"]),
        ({"said": TEXT, "heard": TEXT, "label": CLASS}, "the text",
         [f"said: {TEXT[0]}", f"heard: {TEXT[0]}"]),
        ({"text": TEXT, "id": IDS, "code": CODES}, "the label", ["id: 100", "code: r-0"]),
        ({"a": IDS, "b": SCORE, "label": CLASS}, "the text", ["a: 100", "b: 0.0"]),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_asked_with_an_example_of_each_column(table, question, shown):
    with pytest.raises(UserError, match=rf"data: which column holds {question}\?") as caught:
        columns(table)
    assert [line.strip() for line in str(caught.value).split("\n")[1:]] == shown


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": ["heard"]}, Columns(("heard",), "label", PAIR)),
        ({"text": ["heard", "said"]}, Columns(("heard", "said"), "label", PAIR)),
        ({"text": ["said"], "label": "stars"}, Columns(("said",), "stars", FIVE)),
        ({"text": ["said"], "label": "stars", "kind": "regression"}, NUMBERS),
        ({"text": ["said"], "label": "stars", "metric": "pearson"}, NUMBERS),
        ({"text": ["said"], "label": "id", "kind": "classes"},
         Columns(("said",), "id", tuple(map(str, IDS)))),
        ({"text": ["id"], "label": "label"}, Columns(("id",), "label", PAIR)),
    ],
)  # fmt: skip
def test_what_is_given_is_taken(given, expected):
    table = {"id": IDS, "said": TEXT, "heard": TEXT, "label": CLASS, "stars": STARS}
    assert columns(table, **given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ["txt"]}, "data: no column 'txt'; did you mean 'text'"),
        ({"label": "lable"}, "data: no column 'lable'; did you mean 'label'"),
        ({"text": ["label"], "label": "label"}, "give one column of text, or two, and another"),
        ({"text": ["text", "text"]}, "give one column of text, or two, and another"),
        ({"text": ["text", "label", "id"]}, "give one column of text, or two, and another"),
        ({"label": "truths"}, "labels are 0, 1, false, true; write 1 and true alike"),
        ({"label": "capitals"}, "labels 'Good' and 'good' differ in capitals or blanks only"),
        ({"label": "empty"}, "column 'empty' has no label in any row"),
        ({"label": "tags"}, "column 'tags' holds several labels in one row .*multi-label"),
        ({"label": "lists"}, "column 'lists' holds several labels in one row .*multi-label"),
        ({"label": "thousands"}, "'1,000' may have a decimal comma or one of thousands; write num"),
    ],
)
def test_what_is_given_wrongly_is_refused(given, message):
    table = {
        "id": IDS, "text": TEXT, "label": CLASS, "empty": [None, " "] * (N // 2),
        "tags": ["a", "a;b", "b", "b"] * (N // 4), "lists": [["a"], ["a", "b"]] * (N // 2),
        "truths": ["0", "1", "False", True] * (N // 4),
        "capitals": ["good", "Good"] * (N // 2), "thousands": ["1,000", "2,500"] * (N // 2),
    }  # fmt: skip
    with pytest.raises(UserError, match=message) as caught:
        columns(table, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("good film,good\nbad film,bad\nno film,good\n", "'good' has a label for its name, so the"),
        ("good film,0.5\nbad film,1.5\nno film,2.5\n", "'0.5' has a label for its name"),
        (
            "My poll;\ntext;stars\na;1\nb;2\n",
            "there is only 'My poll', ''; in a csv, the first line",
        ),
        ("text:stars\na:1\nb:2\n", "a text and a label need two columns, .* only 'text:stars'"),
        ("text,text,label\na,b,good\n", "only .*'text', 'text', 'label'"),
    ],
)
def test_files_without_names_or_separate_columns(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        guess(read_file(tmp_path / "a.csv"))


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "texts", "classes"),
    [
        ("nyu-mll/glue/sst2", ("sentence",), ("0", "1")),
        ("nyu-mll/glue/cola", ("sentence",), ("0", "1")),
        ("nyu-mll/glue/mrpc", ("sentence1", "sentence2"), ("0", "1")),
        ("nyu-mll/glue/stsb", ("sentence1", "sentence2"), ()),
        ("aps/super_glue/cb", ("premise", "hypothesis"), ("0", "1", "2")),
    ],
)
def test_datasets_of_the_mirror(mirror, name, texts, classes):
    rows = read_file(mirror / "datasets" / name / "validation.parquet")
    assert guess(rows) == Columns(texts, "label", classes)
