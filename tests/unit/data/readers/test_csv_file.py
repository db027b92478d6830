"""Quotes of a csv are those of RFC 4180; others are refused with the line."""

import pytest

from beft.data.readers.csv_file import read_csv

HEAD = "sentence,label\n"


def read(text, columns=("sentence", "label")):
    return read_csv(text, columns, lambda label: label in ("pos", "neg"))


@pytest.mark.parametrize(
    ("text", "sentences", "starts", "lines"),
    [
        (HEAD + "a,pos\nb,neg\n", ["a", "b"], [2, 3], 3),
        (HEAD + "a,pos\nb,neg", ["a", "b"], [2, 3], 3),
        (HEAD + '"two\nlines",pos\nb,neg\n', ["two\nlines", "b"], [2, 4], 4),
        (HEAD + '"x, y\n and more",neg\n', ["x, y\n and more"], [2], 3),
        (HEAD + '"said ""no"", twice",pos\n', ['said "no", twice'], [2], 2),
        (HEAD + 'a 5" disk,pos\n', ['a 5" disk'], [2], 2),
        (HEAD + "\na,pos\n\n", ["a"], [3], 4),
        (HEAD.replace("\n", "\r\n") + "a,pos\r\n", ["a"], [2], 2),
        (HEAD.replace("\n", "\r") + "a,pos\r", ["a"], [2], 2),
        (HEAD + '"",pos\n,neg\n', ["", None], [2, 3], 3),
        (HEAD + "NA,pos\nnull,neg\nnan,pos\n", ["NA", "null", "nan"], [2, 3, 4], 4),
        (HEAD + f'"{"long " * 100_000}",pos\n', ["long " * 100_000], [2], 2),
        (HEAD + "a\0b,pos\n", ["a\0b"], [2], 2),
    ],
)
def test_rows_and_lines(text, sentences, starts, lines):
    rows = read(text)
    assert rows.columns["sentence"] == sentences and rows.count == len(sentences)
    assert (rows.starts, rows.lines) == (starts, lines)


@pytest.mark.parametrize(
    "text",
    [
        "sentence,label,,\na,pos,x,\n",
        ",sentence,,label\n,a,,pos\n",
        "x,sentence,x,label\n1,a,,pos\n",
    ],
)
def test_unnamed_and_repeated_columns_that_nobody_reads(text):
    assert read(text).columns == {"sentence": ["a"], "label": ["pos"]}


def test_an_empty_field_is_told_from_an_empty_text_in_every_place():
    text = 'a,sentence,label\n"x, ""y""",,pos\n"two\nlines","",neg\n,"",\n'
    assert read(text).columns == {"sentence": [None, "", ""], "label": ["pos", "neg", None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + '"unclosed,pos\n"unclosed,pos\n', r"line 2: a quote opens here, .* \(line 3\)"),
        (HEAD + 'a,pos\n"b" c,pos\n', r"line 3: a quote opens here, and text follows .*line 3"),
        (HEAD + '"unclosed,pos\nb,neg\n', "line 2: a quote opens here and is never closed"),
        (HEAD + '"b,pos\nc,neg\nd",pos\n', "line 2: a quote opens here and takes in .* up to 4"),
        (HEAD + '"b,pos\n\nc,neg\nd",pos\n', "line 2: a quote opens here and takes in .* up to 5"),
        ('label,sentence\npos,"b\nneg,c\npos,d"\n', "line 2: .* the rows of the lines up to 4"),
        (HEAD + "a,b,pos\n", "line 2: 3 fields, but line 1 has 2"),
        (HEAD + "a,pos\nb\n", "line 3: 1 fields, but line 1 has 2"),
        ("sentence\tlabel\na\tpos\n", "line 1 names one column only; separate columns by commas"),
        ("", "the file is empty"),
    ],
)
def test_lines_that_are_wrong_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_a_column_that_is_there_twice_is_not_read():
    assert read("sentence,sentence,label\na,b,pos\n").columns == {"label": ["pos"]}
