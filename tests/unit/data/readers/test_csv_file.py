"""Quotes of a csv are those of RFC 4180; others are refused with the line."""

import pytest

from beft.data.readers.csv_file import check_quotes, read_csv, sniffed

HEAD = "sentence,label\n"


def read(text, columns=("sentence", "label")):
    rows = read_csv(text, columns)
    check_quotes(rows, columns[-1], lambda label: label in ("pos", "neg"))
    return rows


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


ROWS = "text%stars\nI came, I saw; twice%1\nwell | done%2\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_every_row_fits(delimiter):
    quoted = ROWS.replace("%", '"%"').replace("\n", '"\n"').removesuffix('"')
    text, found = sniffed('"' + quoted.replace("%", delimiter))
    assert found == delimiter
    assert read_csv(text, delimiter=found).columns == {
        "text": ["I came, I saw; twice", "well | done"],
        "stars": ["1", "2"],
    }


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        (ROWS.replace("%", "\t"), "\t"),
        ("text;stars\nI came, I saw;1\n", ";"),
        ("a,b;stars\nI came, I saw, yes;1\n", ";"),  # one comma in the header, two in the row
        ("text;stars\n", ";"),
        ("text\nI came\n", ","),
        ("sep=;\r\ntext;stars\r\na;1\r\n", ";"),
        ("", ","),
    ],
)
def test_delimiters_in_texts_are_no_delimiters(text, delimiter):
    assert sniffed(text)[1] == delimiter


def test_a_line_that_names_the_delimiter_is_no_header():
    text, delimiter = sniffed("sep=;\r\ntext;stars\r\na;1\r\n")
    rows = read_csv(text, delimiter=delimiter)
    assert rows.columns == {"text": ["a"], "stars": ["1"]} and rows.place(0) == "row 0 (line 3)"


def test_rows_that_fit_two_delimiters_are_refused():
    with pytest.raises(ValueError, match="separated by commas or by semicolons: every row fits"):
        sniffed("a,b;c\nd,e;f\n")


def test_the_likeliest_delimiter_names_the_line_that_does_not_fit():
    text, delimiter = sniffed("text;stars\na;1\nb;c;2\n")
    with pytest.raises(ValueError, match="line 3: 3 fields, but line 1 has 2"):
        read_csv(text, delimiter=delimiter)


def test_empty_fields_and_texts_between_other_delimiters():
    read = read_csv('a;b;c\n"x;y";;""\n;"";z\n', delimiter=";")
    assert read.columns == {"a": ["x;y", None], "b": [None, ""], "c": ["", "z"]}
