"""What is used of huggingface_hub that is not public."""

import inspect
import io

import pytest
from huggingface_hub.file_download import http_get

from beft.data.mirror import hub
from beft.data.mirror.lookup import Piece
from beft.errors import UserError


def test_http_get_takes_what_a_continued_download_gives_it():
    """If this fails, huggingface_hub has changed: adapt `hub._continue` to its new function."""
    given = {"resume_size": 1, "headers": {}, "expected_size": 2, "tqdm_class": None}
    bound = inspect.signature(http_get).bind("https://hub", io.BytesIO(), **given)
    assert list(bound.arguments) == ["url", "temp_file", *given]


def test_downloads_are_counted_in_place_of_the_progress_bar():
    """huggingface_hub makes a bar of a class, enters it, and tells it about every chunk."""
    counted: list[int] = []
    with hub._counter(counted.append)(unit="B", total=5, initial=1, desc="x") as bar:
        bar.update(3)
        bar.update(1)
    assert counted == [3, 1]


@pytest.mark.parametrize(
    ("path", "size", "digest"),
    [
        *(("a", 1, digest) for digest in ("../../evil", None)),
        ("a", None, "0" * 64),
        *(
            (n, 1, "0" * 64)
            for n in ("..", "", "/a", "../a", "a/../../a", "a\\..\\a", "a//b", "a\n")
        ),
    ],
)
def test_an_answer_that_cannot_be_checked_or_kept_is_refused(path, size, digest):
    piece = Piece("models.m", "own/m", "r1", "models/own/m", ())
    with pytest.raises(UserError, match="^models.m: "):
        hub._checked(piece, hub.Remote(path, size, digest))
