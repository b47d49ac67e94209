"""A comparison in the HTML report: what it says, that nothing in it runs, and that its lists lead to the cases."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from comparison_samples import FAITHFULNESS, PASS, compared, hostile_comparison, pull_request, score_files
from llmops.reports import html_data
from llmops.reports.html_intervals import Scale, row_of, small_plot
from llmops.reports.rendering import render
from llmops.reports.verdicts import headline, sentence, title
from llmops.types import Comparison, MetricInfo, Result, Results, RunRecord, SliceComparison, VariantInfo
from report_samples import HOSTILE, Stream, believable, record, result

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
VOID = {"meta", "link", "br", "input", "hr", "img"}
DRAWN = {"path", "circle", "rect", "line"}


def page_of(head: RunRecord, results: Results = ()) -> str:  # type: ignore[assignment]
    parts: list[str] = []
    render("html", head, results, write=parts.append)
    return "".join(parts)


def sections(page: str) -> list[str]:
    return re.findall(r"<section class=comparison.*?</section>", page, re.DOTALL)


def text_of(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def only(made: Comparison, **changes: Any) -> RunRecord:
    return record(metrics=(), variants=(), baseline=None, comparisons=(made,), **changes)


class Tree(HTMLParser):
    """Checks that every element is closed where it should be; keeps what there was."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in DRAWN:
            self.wrong.append(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


@pytest.fixture(scope="module")
def request_page() -> str:
    return page_of(*pull_request())


# What it says


def test_the_comparison_comes_first_with_a_card_a_guard_worst_first(request_page: str) -> None:
    head, _ = pull_request()
    assert request_page.index("<section class=comparison") < request_page.index("<h2>Summary</h2>")
    cards = re.findall(r"<article class=\"card (\w+)\">(.*?)</article>", request_page, re.DOTALL)
    assert [verdict for verdict, _ in cards] == ["regressed", "inconclusive", "improved", "equivalent"]
    said = {verdict: text_of(card) for verdict, card in cards}
    for m in head.comparisons[0].metrics[:4]:
        assert headline(m) in said[m.verdict]
        assert sentence(m) in said[m.verdict]
    tally = re.search(r"<p class=tally>.*?</p>", request_page)
    assert tally and text_of(tally[0]) == "1 worse 1 can't tell yet 1 better 1 no meaningful drop"
    assert "Got worse" in text_of(request_page[: request_page.index("<main>")])


def test_every_metric_has_a_row_that_says_its_figures_in_words(request_page: str) -> None:
    labels = re.findall(r'<svg class=track role="img" aria-label="([^"]*)"', request_page)
    assert "Pass: −9.0 points, interval −13.0 to −5.0 points, your limit −5.0 points" in labels
    head, _ = pull_request()
    for m, seen in zip(head.comparisons[0].metrics[4:], ("−81 ms", "−49 tokens"), strict=True):
        assert any(label.startswith(f"{title(m)}: {seen}") for label in labels)  # what people see: less is better here
    rows = re.findall(r'<div class="line (\w+)"', request_page)
    assert len(rows) == len(labels) == 6 + 15
    assert rows[:4] == ["regressed", "inconclusive", "improved", "equivalent"]


def test_tags_that_stand_out_come_first_and_are_marked(request_page: str) -> None:
    part = request_page[request_page.index("<div class=slices>") :]
    assert text_of(part[part.index("<div class=what>") :]).startswith("unanswerable stands out 40 cases")
    assert part.count("stands out") == 2
    assert "<details open><summary>By tag" in request_page


def test_what_changed_shows_settings_and_words(request_page: str) -> None:
    assert "parameters.temperature</dt><dd><del>0.0</del> → <ins>0.4</ins>" in request_page
    assert "content_id" not in sections(request_page)[0]
    assert re.search(r"<del>Use only what the passages say\. ?</del>", request_page)
    assert "<ins>Sure!</ins>" in request_page
    assert "user message" not in request_page  # it is the same


def test_a_long_prompt_shows_what_is_around_its_changes() -> None:
    words = " ".join(f"word{i}" for i in range(5000))
    sides = [f"{words} old {words}", f"{words} new {words}"]
    infos = tuple(VariantInfo(n, "prompt", {"prompt_text": [["system", t]]}) for n, t in zip("ab", sides, strict=True))
    page = page_of(replace(only(Comparison("a", "b", 1)), variants=infos))
    assert "<del>old</del><ins>new</ins>" in page
    assert "word4999 <del>" in page
    assert len(sections(page)[0]) < 3000


def test_equal_variants_say_so() -> None:
    infos = tuple(VariantInfo(name, "prompt", {"model": "m"}) for name in "ab")
    page = page_of(replace(only(Comparison("a", "b", 1)), variants=infos))
    assert "Nothing that is recorded of the two differs" in page


def test_a_comparison_of_score_files_is_all_there_is() -> None:
    page = page_of(*score_files())
    assert "<h2>Summary</h2>" not in page
    assert 'id="cases"' not in page
    assert 'href="#cases"' not in page
    text = text_of(sections(page)[0])
    assert "q003" in text
    assert "2 cases only in main.jsonl , not compared: q900 , q901" in text
    assert "0 cases" not in text_of(page[page.index("<header>") : page.index("<main>")])


def test_pages_without_a_comparison_have_none_of_it() -> None:
    page = page_of(*believable(10))
    for part in ("comparison", 'id="hatch"', "data-change", ".cards"):
        assert part not in page[: page.index("<main>")] + page[page.index("<main>") : page.index("Provenance")]
    assert data_of(page)["changes"] == []


def test_several_candidates_have_a_section_each_and_one_pattern() -> None:
    m = compared(PASS, [1, 1, 0, 1], [1, 0, 0, 1], guard=True, broke=("x",))
    made = tuple(Comparison("base", name, 4, (m,)) for name in ("one", "two"))
    head = record(metrics=(PASS,), variants=("base", "one", "two"), comparisons=made)
    page = page_of(head, [result("x", name, **{"pass": 1}) for name in ("base", "one", "two")])
    assert len(sections(page)) == 2
    assert page.count('id="hatch"') == 1
    assert [change["label"] for change in data_of(page)["changes"]] == ["Pass: 1 broke (one)", "Pass: 1 broke (two)"]


# Plots


@pytest.mark.parametrize(
    "changes",
    [
        {"ci": (-math.inf, math.inf), "lo_safe": -math.inf},
        {"ci": (math.nan, math.nan), "diff": math.nan, "lo_safe": math.nan},
        {"margin": 0.0, "ci": (0.0, 0.0), "diff": 0.0},
        {"margin": 0.0, "ci": (-1e308, 1e308), "diff": 1e308},
        {"margin": 5e-324},
        {"mean_a": None, "mean_b": None, "n": 0, "mde": None, "n_needed": None},
        {"ci": (-90.0, 70.0), "diff": -40.0, "lo_safe": -95.0},
    ],
)
def test_any_interval_stays_inside_its_plot(changes: dict[str, Any]) -> None:
    m = compared(FAITHFULNESS, [0.4, 0.6, 0.7], [0.5, 0.5, 0.6], **changes)
    page = page_of(only(Comparison("a", "b", 3, (m, m))))
    places = [float(x) for x in re.findall(r'\b(?:x|x1|x2|cx|width)="(-?[\d.naif]+)%"', page)]
    assert places
    assert all(0 <= place <= 100 for place in places)
    widths = re.findall(r'class=spread x="([\d.]+)%" width="([\d.]+)%"', page)
    assert all(float(x) + float(width) <= 100.5 for x, width in widths)


def test_what_is_beyond_the_plot_is_an_arrow() -> None:
    page = page_of(only(Comparison("a", "b", 3, (compared(PASS, [1, 0], [0, 1], ci=(-0.9, 0.01), diff=-0.5),))))
    assert page.count("<svg class=arrowhead") == 1
    assert "<circle class=dot" not in page  # it is beyond too


def test_a_plot_puts_the_limit_of_every_metric_in_one_place() -> None:
    small = compared(PASS, [1, 1, 0, 1], [1, 0, 0, 1], margin=0.4)
    large = compared(MetricInfo("grade", 0, 1000), [500, 400, 600], [480, 420, 590], margin=50.0)
    scale = Scale.of((small, large))
    assert scale.at(-small.margin / scale.unit(small)) == scale.at(-large.margin / scale.unit(large)) == scale.at(-1)
    assert 0 < scale.at(-1) < scale.at(0) < 100


def test_a_metric_without_a_limit_has_no_zone() -> None:
    m = compared(PASS, [1, 1, 0, 1], [1, 0, 0, 1], margin=0.0)
    page = page_of(only(Comparison("a", "b", 4, (m,))))
    assert "class=beyond" not in page
    assert "your limit" not in text_of(sections(page)[0])
    assert "class=beyond" not in small_plot([row_of(m)], "x")


# Safety and size


@pytest.mark.parametrize("sample", [pull_request, score_files, hostile_comparison])
def test_the_page_is_well_formed(sample: Any) -> None:
    tree = Tree()
    tree.feed(page_of(*sample()))
    tree.close()
    assert tree.wrong == []
    assert tree.open == []
    ids = [attributes["id"] for _, attributes in tree.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_hostile_comparison_has_only_our_elements() -> None:
    page = page_of(*hostile_comparison())
    tree = Tree()
    tree.feed(page)
    tags = [tag for tag, _ in tree.seen]
    assert tags.count("script") == 2
    assert not {"img", "iframe", "object", "base", "form"} & set(tags)
    attributes = [(name, value or "") for _, given in tree.seen for name, value in given.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert {value for name, value in attributes if name == "href"} == {"#cases", "data:,"}
    assert not [1 for name, value in attributes if name == "style" and not re.fullmatch(r"[a-z]+:[\d.]+%", value)]
    page.encode()
    assert not set(page) & {"\x1b", "\x00", "\u202e", "\x07"}


def test_a_hundred_thousand_changed_cases_keep_the_page_small() -> None:
    ids = tuple(f"case-{i:06d}" for i in range(100_000))
    tags = tuple(SliceComparison(f"tag{i}", "pass", 9, 1, 0.5, -0.5, (-0.9, -0.1), 0.01) for i in range(2000))
    m = compared(PASS, [1, 1, 0, 1], [0, 0, 0, 1], broke=ids[:60_000], fixed=ids[60_000:], guard=True)
    made = Comparison("a", "b", 100_000, (m,), tags, ids, ids, notes=("note",) * 1000)
    page = page_of(only(made))
    assert len(sections(page)[0]) < 40_000
    assert "60,000" in page
    infos = tuple(VariantInfo(n, "x", {"prompt_text": [["user", f"{n} {i} " * 3000] for i in range(40)]}) for n in "ab")
    assert len(sections(page_of(replace(only(made), variants=infos)))[0]) < 150_000


def test_named_cases_are_in_the_file_whatever_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_data, "MAX_CASES", 40)
    metrics = (MetricInfo("f1"), MetricInfo("pass"))

    def make() -> Iterator[Result]:
        for i in range(1000):
            for name in ("small", "large"):
                yield result(f"c{i}", name, f1=i / 1000 if name == "small" else 0.0, **{"pass": 1.0})

    m = compared(PASS, [1, 1, 0, 1], [0, 0, 0, 1], broke=("c3", "gone", "c1"), guard=True)
    head = record(metrics=metrics, comparisons=(Comparison("small", "large", 1000, (m,)),))
    data = data_of(page_of(head, Stream(make)))
    assert len(data["cases"]) == 40
    [change] = data["changes"]
    assert [data["cases"][i]["id"] for i in change["cases"]] == ["c3", "c1"]
    assert (change["a"], change["b"], change["metric"]) == (0, 1, 1)


# In Chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield chromium
        chromium.close()


class Watched:
    """A page, with everything it must not do recorded in `trouble`."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.trouble: list[str] = []
        self.page.on("console", lambda m: self.trouble.append(f"console {m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.trouble.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda r: None if r.url == path.as_uri() else self.trouble.append(r.url))
        self.page.goto(path.as_uri())

    def ids(self) -> list[str]:
        return [str(text) for text in self.page.locator("table.cases .open b").all_text_contents()]

    def close(self) -> None:
        assert self.page.evaluate("typeof window.pwned") == "undefined"
        assert self.trouble == []
        self.page.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("html")
    made = {}
    for sample in (pull_request, score_files, hostile_comparison):
        made[sample.__name__] = folder / f"{sample.__name__}.html"
        made[sample.__name__].write_text(page_of(*sample()), encoding="utf-8")
    return made


def test_a_list_filters_the_cases_and_the_filter_can_be_lifted(browser: Any, pages: dict[str, Path]) -> None:
    head, _ = pull_request()
    metrics = {m.metric: m for m in head.comparisons[0].metrics}
    watched = Watched(browser, pages["pull_request"])
    page = watched.page
    page.locator('[data-key="text"]').fill("no such case")
    page.get_by_role("link", name="18 broke").click()
    assert watched.ids() == list(metrics["pass"].broke)  # worst first, and no other filter left
    assert page.locator(".status").inner_text() == "18 of 200 cases match, biggest change first"
    assert page.locator('[data-key="text"]').input_value() == ""
    page.locator('[data-key="change"]').select_option(label="Helpfulness: 17 clearly better")
    assert watched.ids() == list(metrics["helpfulness"].fixed)
    page.locator('[data-key="tag"]').select_option("table")
    assert 0 < len(watched.ids()) < 17
    page.locator('[data-key="tag"]').select_option("")
    page.locator('[data-key="change"]').select_option("")
    assert len(watched.ids()) == 100
    watched.close()


def test_a_listed_case_opens_and_steps_through_its_list(browser: Any, pages: dict[str, Path]) -> None:
    head, _ = pull_request()
    broke = head.comparisons[0].metrics[0].broke
    watched = Watched(browser, pages["pull_request"])
    page = watched.page
    entry = page.locator('ul[data-of="0:0:broke"] .open').first
    assert "1 → 0" in entry.inner_text()
    assert "What does the manual say" in entry.inner_text()
    entry.focus()
    page.keyboard.press("Enter")
    assert page.locator("#case-title").inner_text() == broke[0]
    assert page.locator("dialog article").count() == 2
    page.keyboard.press("ArrowRight")
    assert page.locator("#case-title").inner_text() == broke[1]
    assert page.locator(".place").inner_text() == "2 of 18"
    page.keyboard.press("Escape")
    assert entry.evaluate("node => node === document.activeElement")
    watched.close()


def test_nothing_hostile_runs(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["hostile_comparison"])
    page = watched.page
    for summary in page.locator("details:not([open]) > summary:visible").all():
        summary.click()
    for link in page.locator("a[data-change]:visible").all():
        link.click()
    assert len(watched.ids()) > 0
    for entry in page.locator("ul[data-of] .open:visible").all()[:6]:
        entry.click()
        assert page.locator("dialog img, dialog script, dialog svg").count() == 0
        page.keyboard.press("Escape")
    assert HOSTILE[1] in page.locator(".comparison").inner_text()
    assert page.locator(".comparison img, .comparison script, .comparison iframe").count() == 0
    watched.close()


def test_score_files_need_no_case_browser(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["score_files"])
    assert watched.page.locator("table.cases").count() == 0
    assert watched.page.locator(".card").count() == 4
    watched.close()


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
@pytest.mark.parametrize("name", ["pull_request", "score_files", "hostile_comparison"])
def test_the_page_never_scrolls_sideways(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    watched = Watched(browser, pages[name], viewport={"width": width, "height": 800})
    page = watched.page
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = """width => [...document.querySelectorAll('.comparison :is(p, b, small, code)')]
      .map(node => node.getBoundingClientRect()).filter(box => box.right > width + 1 || box.left < -1).length"""
    assert page.evaluate(outside, width) == 0
    watched.close()


def test_labels_of_a_plot_can_be_read_on_a_phone(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["pull_request"], viewport={"width": 390, "height": 800})
    overlaps = """() => [...document.querySelectorAll('.axis, .forest .line')].flatMap(row => {
      const parts = '.axis div span, .what > span, .what > small, .figures b, .figures small, svg.track';
      const boxes = [...row.querySelectorAll(parts)]
        .map(node => node.getBoundingClientRect()).filter(box => box.width);
      return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
    }).length"""
    assert watched.page.evaluate(overlaps) == 0
    assert watched.page.locator(".track").first.bounding_box()["width"] > 300
    watched.close()


def test_text_and_marks_have_contrast_in_both_schemes(browser: Any, pages: dict[str, Path]) -> None:
    ratio = """([selector, property, under]) => {
      const parse = color => (([r, g, b, a = 1]) => ({ rgb: [r, g, b], a }))(color.match(/[\\d.]+/g).map(Number));
      const over = (top, base) => top.rgb.map((c, i) => c * top.a + base[i] * (1 - top.a));
      const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const node = document.querySelector(selector);
      let base = parse(getComputedStyle(document.querySelector('section')).backgroundColor).rgb;
      if (under) base = over(parse(getComputedStyle(node).backgroundColor), base);
      const pair = [parse(getComputedStyle(node)[property]).rgb, base].map(light).sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    }"""
    texts = [".card h3", ".card p", ".go", ".method", ".key", ".track text", "ins", "del", ".axis .edge", ".axis .zero"]
    texts += [f".tally .pill.{look}" for look in ("bad", "good", "better", "unsure")]
    shapes = [f".{verdict} .track .dot" for verdict in ("regressed", "improved", "equivalent")]
    shapes += [f".sign.{verdict} circle" for verdict in ("regressed", "improved", "equivalent", "inconclusive")]
    for scheme in ("light", "dark"):
        watched = Watched(browser, pages["pull_request"], color_scheme=scheme)
        for selector in texts:
            what = "fill" if selector.endswith(" text") else "color"
            filled = selector in ("ins", "del") or ".pill" in selector
            assert watched.page.evaluate(ratio, [selector, what, filled]) >= 4.5, (scheme, selector)
        for selector in shapes:
            assert watched.page.evaluate(ratio, [selector, "fill", False]) >= 3, (scheme, selector)
        watched.close()
