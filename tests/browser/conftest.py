"""A headless browser, and pages for it: a synthetic study, one with hostile names, a huge one."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support import made_up_pages as made
from support.made_up_study import study

from beft.report import build
from beft.report.frames import schema
from beft.report.frames.schema import Frames
from beft.study.studies import TABLES

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def obstacle() -> str | None:
    """Why there is no browser to test in."""
    if importlib.util.find_spec("playwright") is None:
        return "no playwright: it comes with the extra 'dev'"
    return None if PROGRAM else "no chromium: run tests/browser/install"


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """One browser for all tests of a worker; skipped where there is none."""
    if reason := obstacle():
        # where there must be one, going without is a failure
        (pytest.fail if os.environ.get("BEFT_BROWSER") == "required" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=PROGRAM, args=list(QUIET))
        yield opened
        opened.close()


def written(
    study: Frames,
    folder: Path,
    drawn: tuple[str, ...] = (),
    tables: tuple[str, ...] = ("table1", "selection"),
) -> Path:
    """The page of a study, with all files that it links to; figures and tables as named."""
    settings = {**study.settings, "figures": list(drawn), "tables": list(tables)}
    schema.write(replace(study, settings=settings), folder)
    read = schema.read(folder)
    build.write_tables(read, folder)
    build.write_figures(read, folder)
    return build.write_page(read, folder)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory) -> Path:
    """The page of the synthetic study of tests/unit/report."""
    return written(study(), tmp_path_factory.mktemp("page"), ("cost", "curves"), TABLES)


@pytest.fixture(scope="session")
def hostile_file(tmp_path_factory) -> Path:
    """The page of a study whose names want to be markup, formulas, paths and ends of scripts."""
    return written(made.hostile(), tmp_path_factory.mktemp("hostile"), tables=TABLES)


@pytest.fixture(scope="session")
def huge_file(tmp_path_factory) -> Path:
    """The page of 10,000 runs with 16 epochs."""
    return written(made.huge(), tmp_path_factory.mktemp("huge"))


@dataclass
class Seen:
    """A page in the browser, and what it did that it should not."""

    page: object
    trouble: list[str] = field(default_factory=list)

    def note(self, page) -> None:
        page.on("console", lambda m: self.trouble.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("dialog", lambda box: (self.trouble.append(f"alert: {box.message}"), box.dismiss()))
        local = ("file:", "data:", "blob:")
        page.on(
            "request",
            lambda r: None if r.url.startswith(local) else self.trouble.append(f"request: {r.url}"),
        )


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Opens a page of a file; at the end of the test it must have said and asked for nothing."""
    contexts, everything = [], []

    def opened(path: Path, fragment: str = "", **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        seen = Seen(context.new_page())
        everything.append(seen)
        seen.note(seen.page)
        seen.page.set_default_timeout(20_000)
        seen.page.goto(path.as_uri() + fragment)
        return seen.page

    yield opened
    for context in contexts:
        context.close()
    assert [line for seen in everything for line in seen.trouble] == []
