"""The page in a real browser: what a reader can do with it by mouse, by keyboard, and without."""

import csv
import io
import json
import re

import pytest
from support import made_up_pages as made

CELL = "#cell=bert-base-cased/sst2/medium/b_q"  # one run is ok, two diverged
PHONE = {"viewport": {"width": 400, "height": 800}}


def table(page, name: str):
    """A table of the page in the epoch that is shown."""
    return page.locator(f"section[data-table={name}] [data-epoch]:visible table.sortable").first


def column(of, place: int) -> list[str]:
    """The values in one column, without what stands under them."""
    script = (
        "(rows, i) => rows.map(r => (r.cells[i].querySelector('.value') ?? r.cells[i]).innerText)"
    )
    return of.locator("tbody tr:visible").evaluate_all(script, place)


def numbers(texts: list[str]) -> list[float]:
    return [
        float(m[0]) if (m := re.match(r"[-+]?[\d.]+", text)) else float("inf") for text in texts
    ]


def test_a_page_opens_quietly_and_asks_for_nothing(visit, page_file):
    """`visit` fails a test whose page said something or sent a request; this one reads it all."""
    page = visit(page_file)
    assert "came out best in 17 of 17 decided cells" in page.locator("main").inner_text()
    for image in page.locator("figure img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    for heading in page.locator("h2").all():
        assert heading.is_visible()


def test_the_policy_of_the_page_keeps_foreign_scripts_and_requests_out(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.evaluate(
        """document.body.append(document.createRange().createContextualFragment(
            '<script>window.foreign = true</script>'))"""
    )
    assert page.evaluate("window.foreign === undefined")
    blocked = """new Promise(seen => {
        const noted = event => seen(event.effectiveDirective);
        document.addEventListener('securitypolicyviolation', noted);
        fetch('http://127.0.0.1:9/').catch(() => {});
    })"""
    assert page.evaluate(blocked) == "connect-src"
    page.close()


def test_sorting_by_a_number_by_mouse_and_keyboard(visit, page_file):
    page = visit(page_file)
    shown = table(page, "table1")
    head = shown.locator("thead th").nth(2)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = numbers(column(shown, 2))
    assert up == sorted(up) and len(up) == 18
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    down = numbers(column(shown, 2))
    assert down == sorted(up, reverse=True)


def test_cells_without_a_number_stay_last(visit, page_file):
    """b_k of stsb was skipped in all three regimes: no number, whichever way it is sorted."""
    shown = table(visit(page_file), "table1")
    for _ in range(2):
        shown.locator("thead th").nth(5).get_by_role("button").click()
        assert [text[:1] for text in column(shown, 5)[-3:]] == ["—"] * 3


def test_filters_of_a_table(visit, page_file):
    page = visit(page_file)
    section = page.locator("section[data-table=table1]")
    rows = section.locator("[data-epoch=best] tbody tr:visible")
    assert rows.count() == 36
    section.get_by_label("Filter by technique").select_option("b_v")
    assert rows.count() == 6
    section.get_by_label("Filter by model").select_option("mini-rotary")
    assert rows.count() == 3 and "3 of 36 rows" in section.inner_text()
    section.get_by_role("searchbox").fill("HIGH")
    assert rows.count() == 1
    section.get_by_label("Filter by column").select_option("stsb")
    assert section.locator("thead th:visible").all_inner_texts()[-1].startswith("stsb")


def test_the_epoch_switch_by_keyboard(visit, page_file):
    page = visit(page_file)
    best = column(table(page, "table1"), 2)
    assert "best epoch of each run" in table(page, "table1").locator("caption").inner_text()
    page.get_by_role("radio", name="best epoch").focus()
    page.keyboard.press("ArrowRight")
    assert "last epoch of each run" in table(page, "table1").locator("caption").inner_text()
    last = column(table(page, "table1"), 2)
    assert last != best
    assert all(a >= b for a, b in zip(numbers(best), numbers(last), strict=True))
    said = page.locator("[data-epoch]:visible").all_inner_texts()
    assert said and not any("From the best epoch" in text for text in said)


@pytest.mark.parametrize("epoch", ["best", "last"])
@pytest.mark.parametrize("suffix, name", [("csv", "CSV"), ("md", "Markdown"), ("tex", "LaTeX")])
def test_copying_a_table(visit, page_file, suffix: str, name: str, epoch: str):
    page = visit(page_file, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("radio", name=f"{epoch} epoch").check()
    page.locator(f"section[data-table=table1] [data-copy={suffix}]").click()
    page.wait_for_function("document.getElementById('said').textContent.includes('copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    written = (page_file.parent / "tables" / f"table1.{suffix}").read_text()
    assert (copied == written) == (epoch == "best")
    assert f"{epoch} epoch" in page.locator("#said").inner_text()


def test_copying_where_a_page_of_a_file_has_no_clipboard(visit, page_file):
    page = visit(page_file)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate("document.addEventListener('copy', () => "
                  "window.copied = document.activeElement.value)")  # fmt: skip
    page.locator("section[data-table=table1] [data-copy=md]").click()
    page.wait_for_function("window.copied !== undefined")
    assert page.evaluate("window.copied") == (page_file.parent / "tables/table1.md").read_text()
    assert page.locator("textarea").count() == 0


def opened(page):
    """The dialog, which must be open."""
    found = page.get_by_role("dialog")
    found.wait_for()
    return found


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_from_a_cell_to_its_runs_and_back(visit, page_file, way: str):
    page = visit(page_file)
    cell = page.locator(f"[data-epoch=best] a.value[href='{CELL}']").first
    if way == "mouse":
        cell.click()
    else:
        cell.focus()
        page.keyboard.press("Enter")
    box = opened(page)
    text = box.inner_text()
    assert "bert-base-cased · sst2 · medium · b_q" in text
    assert "diverged: loss is not finite at step 12" in text and "step 31" in text
    assert "learning rate" in text and "0.0004" in text and "0123abcd" * 5 in text
    rows = box.get_by_role("region", name="Results of the runs").locator("tbody tr")
    assert rows.count() == 3
    lines = box.locator(".chart").first.locator(":scope > svg .series path")
    assert lines.count() == 3
    # conftest of tests/unit/report: 9 epochs where all is well, 4 where a run diverged
    dots = [group.locator("circle").count() for group in
            box.locator(".chart").first.locator(":scope > svg .series").all()]  # fmt: skip
    assert dots == [9, 4, 4]
    assert page.evaluate("location.hash") == CELL
    page.keyboard.press("Escape")
    box.wait_for(state="hidden")
    assert page.evaluate("location.hash") == ""
    assert cell.evaluate("node => node === document.activeElement")


def test_curves_have_their_numbers_as_a_table(visit, page_file):
    """What a screen reader gets is what history.csv has."""
    page = visit(page_file, CELL)
    box = opened(page)
    box.locator(".chart details summary").first.click()
    shown = box.locator(".chart").first.locator("tbody tr").first.locator("td").all_inner_texts()
    runs = csv.DictReader(io.StringIO((page_file.parent / "runs.csv").read_text()))
    where = dict(zip(("model", "task", "regime", "technique"), CELL[6:].split("/"), strict=True))
    digests = [r["digest"] for r in runs if where.items() <= r.items()]
    history = list(csv.DictReader(io.StringIO((page_file.parent / "history.csv").read_text())))
    expected = [float(h["value"]) for d in digests for h in history
                if h["digest"] == d and h["epoch"] == "0"]  # fmt: skip
    assert [float(text) for text in shown] == expected and len(expected) == 3


def test_a_run_opens_by_its_address_and_its_digest_is_copied(visit, page_file):
    rows = list(csv.DictReader(io.StringIO((page_file.parent / "runs.csv").read_text())))
    digest = rows[40]["digest"]
    page = visit(page_file, f"#run={digest}", permissions=["clipboard-read", "clipboard-write"])
    box = opened(page)
    assert f"seed {rows[40]['seed']}" in box.get_by_role("heading", level=2).inner_text()
    box.get_by_role("button", name="Copy digest").click()
    page.wait_for_function("document.getElementById('said').textContent !== ''")
    assert page.evaluate("navigator.clipboard.readText()") == digest
    box.get_by_role("link", name="All runs of this cell").click()
    assert box.get_by_role("region", name="Results of the runs").locator("tbody tr").count() == 3
    page.go_back()
    page.wait_for_function(f"location.hash === '#run={digest}'")
    assert box.get_by_role("region", name="Results of the runs").locator("tbody tr").count() == 1


@pytest.mark.parametrize("address", ["#run=none", "#cell=a/b/c/d", "#cell=%E0%A4%A", "#run="])
def test_addresses_of_nothing_say_so(visit, page_file, address: str):
    box = opened(visit(page_file, address))
    assert "There is no such run" in box.inner_text()


def test_all_runs_sort_filter_and_turn_pages(visit, page_file):
    page = visit(page_file)
    part = page.locator("#all-runs")
    rows = part.locator("tbody tr")
    assert rows.count() == 50 and "1 to 50 of 324" in part.inner_text()
    part.get_by_role("button", name="Next").click()
    assert "51 to 100 of 324" in part.inner_text()
    part.get_by_label("Filter by status").select_option("diverged")
    assert rows.count() == 2 and "1 to 2 of 2 (324 without filter)" in part.inner_text()
    part.get_by_label("Filter by status").select_option("")
    part.get_by_label("Filter by best").fill("> 0.85")
    heads = part.locator("thead tr").first.locator("th")
    place = [text.split()[0] for text in heads.all_inner_texts()].index("best")
    heads.nth(place).get_by_role("button").click()
    found = [float(text) for text in column(part, place)]
    assert found == sorted(found) and found and min(found) > 0.85
    with page.expect_download() as waiting:
        part.get_by_role("button", name="Download CSV").click()
    assert len(waiting.value.path().read_text().splitlines()) == 1 + len(found)
    rows.first.get_by_role("link").click()
    assert "seed" in opened(page).inner_text()


def test_figures_have_the_data_behind_them(visit, page_file):
    page = visit(page_file)
    part = page.locator("details[data-figure=curves]")
    part.locator("summary").click()
    part.locator("tbody tr").nth(49).wait_for()
    assert part.locator("tbody tr").count() == 50
    with page.expect_download() as waiting:
        part.get_by_role("button", name="Download CSV").click()
    header = waiting.value.path().read_text().splitlines()[0]
    assert header == "model,task,regime,technique,epoch,mean,std"
    assert re.search(r"Mean of the curves' last points in percent: .*full \d\d\.\d",
                     page.locator("#figure-curves img").get_attribute("alt"))  # fmt: skip


@pytest.mark.parametrize("scheme, darker", [("light", False), ("dark", True)])
def test_both_schemes(visit, page_file, scheme: str, darker: bool):
    page = visit(page_file, CELL, color_scheme=scheme)
    script = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]"
    for node in (page.locator("body"), opened(page)):
        ground, ink = (sum(map(int, re.findall(r"\d+", c)[:3])) for c in node.evaluate(script))
        assert (ground < ink) == darker


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}])
def test_hostile_names_are_text(visit, hostile_file, options):
    page = visit(hostile_file, **options)
    assert page.locator("img, main script").count() == 0
    text = page.locator("body").inner_text()
    for name in list(made.EVIL.values())[:2]:
        assert name in text


def test_cells_of_hostile_names_open(visit, hostile_file):
    page = visit(hostile_file)
    page.locator("table.sortable a.value:visible").first.click()
    box = opened(page)
    for name in list(made.EVIL.values())[:2]:
        assert name in box.inner_text()
    assert box.locator("img").count() == 0
    assert box.get_by_role("region", name="Results of the runs").locator("tbody tr").count() == 3


def test_all_is_readable_without_the_script(visit, page_file):
    page = visit(page_file, java_script_enabled=False)
    for words in ("From the best epoch of each run", "From the last epoch of each run"):
        assert page.get_by_text(words).first.is_visible()
    captions = page.locator("section[data-table=table1] caption")
    assert [c.is_visible() for c in captions.all()] == [True] * 4
    assert page.locator("#all-runs tbody tr").count() == 200
    assert (
        "The first 200 of 324 runs; all are in runs.csv" in page.locator("#all-runs").inner_text()
    )
    for controls in ("button", "input", "select", "dialog"):
        assert not any(node.is_visible() for node in page.locator(controls).all())


@pytest.mark.parametrize("fragment", ["", CELL])
def test_a_narrow_window_does_not_scroll_sideways(visit, page_file, fragment: str):
    page = visit(page_file, fragment, **PHONE)
    wide = "node => [node.scrollWidth, node.clientWidth]"
    for name in ("html", "dialog") if fragment else ("html",):
        scroll, width = page.locator(name).evaluate(wide)
        assert scroll <= width


def test_printing(visit, page_file):
    """Both epochs, nothing to press, and no table that runs out of the paper."""
    page = visit(page_file)
    page.emulate_media(media="print")
    assert not any(b.is_visible() for b in page.locator(".tools, .bar-top").all())
    assert [c.is_visible() for c in page.locator("section[data-table=table1] caption").all()] == [
        True
    ] * 4
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 within its margins
    sizes = page.locator("main table:visible").evaluate_all("all => all.map(t => t.scrollWidth)")
    assert sizes and max(sizes) <= 688
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 6


def test_keyboard_reaches_everything_and_shows_where_it_is(visit, page_file):
    page = visit(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    unnamed = page.evaluate("""[...document.querySelectorAll('button, input, select, a')].filter(
        node => !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).length""")
    assert unnamed == 0
    for _ in range(12):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none"


def test_no_motion_where_none_is_wanted(visit, page_file):
    page = visit(page_file, reduced_motion="reduce")
    style = page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
    assert style == "auto"


def test_ten_thousand_runs(visit, huge_file):
    """Small enough to send, and every run is in it and within reach."""
    assert huge_file.stat().st_size < 6e6
    page = visit(huge_file)
    part = page.locator("#all-runs")
    assert "1 to 50 of 10,000" in part.inner_text()
    part.get_by_label("Filter by model").select_option("model-3")
    assert "of 2,000 (10,000 without filter)" in part.inner_text()
    part.get_by_label("Filter by digest").fill("ab")
    part.locator("thead button").first.click()
    part.locator("tbody a").first.click()
    box = opened(page)
    assert box.locator(".chart").first.locator(":scope > svg circle").count() == 16
    parsed = json.loads(page.locator("#data").inner_text() or page.evaluate(
        "document.getElementById('data').textContent"))  # fmt: skip
    assert parsed["runs"]["rows"] == 10_000 and parsed["history"]["rows"] == 160_000
