"""The HTML report in a real browser: nothing a model wrote runs, and sorting, filtering and reading work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from llmops.reports import html_data
from llmops.reports.html_data import embed
from llmops.reports.rendering import render
from llmops.types import Case, Context, MetricInfo, Output, Result, Results, RunRecord, Score, Usage
from report_samples import HOSTILE, Stream, believable, hostile, record, result

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def page_of(head: RunRecord, results: Results) -> str:
    parts: list[str] = []
    render("html", head, results, write=parts.append)
    return "".join(parts)


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


# Without a browser


class Elements(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_hostile_page_has_only_our_elements() -> None:
    elements = Elements()
    elements.feed(page_of(*hostile()))
    tags = [tag for tag, _ in elements.seen]
    assert tags.count("script") == 2
    assert not {"img", "iframe", "object", "base", "form"} & set(tags)
    assert not [name for _, attributes in elements.seen for name in attributes if name.startswith("on")]
    links = [attributes.get("href") for _, attributes in elements.seen if "href" in attributes]
    assert sorted(map(str, links)) == ["#cases", "data:,"]
    assert not [1 for _, attributes in elements.seen if "src" in attributes]


def test_embedded_json_cannot_leave_its_element() -> None:
    for text in HOSTILE:
        safe = embed([text])
        assert not set(safe) & set("<>&\u2028\u2029")
        assert json.loads(safe) == [text]


def test_big_runs_embed_the_worst_cases_and_a_random_rest_and_say_so() -> None:
    def make() -> Iterator[Result]:
        return (result(f"c{i}", f1=1 - i / 5000) for i in range(5000))

    head = record(metrics=(MetricInfo("f1"),), variants=("small",))
    data = data_of(page_of(head, Stream(make)))
    ids = [case["id"] for case in data["cases"]]
    assert len(ids) == html_data.MAX_CASES
    assert ids[:1000] == [f"c{i}" for i in range(4999, 3999, -1)]
    assert len(set(ids)) == html_data.MAX_CASES
    assert data["note"].startswith("2,000 of 5,000 cases are in this file")
    assert ids == [case["id"] for case in data_of(page_of(head, Stream(make)))["cases"]]  # the draw is repeatable


def test_long_texts_are_cut_and_the_file_stays_small() -> None:
    text = "<&é" * 20_000

    def make() -> Iterator[Result]:
        for i in range(300):
            contexts = (Context(text, "a"),) * 3
            yield Result(
                "small", Case(f"c{i}", {"question": text}, text), Output(text, contexts), 0, {"f1": Score(i / 300)}
            )

    page = page_of(record(metrics=(MetricInfo("f1"),), variants=("small",)), Stream(make))
    assert len(page.encode()) < 20_000_000
    data = data_of(page)
    assert 0 < len(data["cases"]) < 300
    assert data["cases"][0]["id"] == "c0"
    assert f"{len(data['cases'])} of 300 cases" in data["note"]
    assert data["cases"][0]["results"][0]["text"].endswith("20,000 of 60,000 characters are shown")


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
        self.page.on("popup", lambda _: self.trouble.append("popup"))
        self.page.on("request", lambda r: None if r.url == path.as_uri() else self.trouble.append(r.url))
        self.page.goto(path.as_uri())

    def ids(self) -> list[str]:
        return [str(text) for text in self.page.locator("table.cases .open b").all_text_contents()]

    def close(self) -> None:
        assert self.page.evaluate("typeof window.pwned") == "undefined"
        assert self.trouble == []
        self.page.close()


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "report.html"
    path.write_text(page_of(*believable(150, repeats=2)), encoding="utf-8")
    return path


def test_nothing_hostile_runs_however_it_is_looked_at(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page_of(*hostile()), encoding="utf-8")
    watched = Watched(browser, path)
    page = watched.page
    assert len(watched.ids()) == len(HOSTILE)
    for select in page.locator(".tools select:visible").all():
        for value in select.evaluate("node => [...node.options].map(option => option.value)"):
            select.select_option(value)
        select.select_option(index=0)
    for button in range(page.locator("table.cases thead button").count()):
        page.locator("table.cases thead button").nth(button).click()
    page.locator(".open").first.click()
    for place in range(len(HOSTILE)):
        assert page.locator(".answers article").count() == 2
        assert page.locator("dialog a, dialog img, dialog script, dialog iframe, dialog svg").count() == 0
        if place + 1 < len(HOSTILE):
            page.keyboard.press("ArrowRight")
    shown = page.evaluate("document.body.innerText + document.title")
    assert "</script><script>window.pwned=1</script>" in shown
    assert page.evaluate("window.pwned") is None
    watched.close()


def test_the_policy_stops_scripts_even_if_one_got_in(browser: Any, ordinary: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.html"
    attack = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><main>"
    path.write_text(ordinary.read_text(encoding="utf-8").replace("<main>", attack, 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("table.cases .open").count() == 100  # ours still runs
    page.close()


def test_sorting_by_a_column_and_back(browser: Any, ordinary: Path) -> None:
    watched = Watched(browser, ordinary)
    page = watched.page
    page.locator('[data-sort="0:1"]').click()
    assert page.locator('th[aria-sort="ascending"]').count() == 1
    column = "table.cases tbody td:nth-child(3) .cell:not(.error):not(.missing)"
    values = [float(text) for text in page.locator(column).all_text_contents()]
    assert values == sorted(values)
    page.keyboard.press("Enter")  # the heading kept the focus
    assert page.locator('th[aria-sort="descending"]').count() == 1
    values = [float(text) for text in page.locator(column).all_text_contents()]
    assert values == sorted(values, reverse=True)
    page.locator('[data-sort="id"]').click()
    assert watched.ids()[:3] == ["q000", "q001", "q002"]
    watched.close()


def test_filters(browser: Any, ordinary: Path) -> None:
    _, results = believable(150, repeats=2)
    watched = Watched(browser, ordinary)
    page, status = watched.page, watched.page.locator(".status")
    page.locator('[data-key="text"]').fill("Q007")
    assert watched.ids() == ["q007"]
    page.locator('[data-key="text"]').fill("")
    page.locator('[data-key="tag"]').select_option("hard")
    hard = {r.case.id for r in results if "hard" in r.case.tags}
    assert status.inner_text().startswith(f"{len(hard)} of 150 cases")
    page.locator('[data-key="errors"]').check()
    failed = {r.case.id for r in results if r.output.error and "hard" in r.case.tags}
    assert set(watched.ids()) == failed
    page.locator('[data-key="errors"]').uncheck()
    page.locator('[data-key="tag"]').select_option("")
    page.locator('[data-key="variant"]').select_option(label="large")
    assert page.locator("table.cases thead th").count() == 5  # the case, three metrics and the time
    page.locator('[data-key="metric"]').select_option(label="token_f1")
    page.locator('[data-key="below"]').fill("0.4")
    scores: dict[str, list[float]] = {}
    for item in results:
        if item.variant == "large" and item.scores:
            scores.setdefault(item.case.id, []).append(float(item.scores["token_f1"].value or 0))
    low = {key for key, values in scores.items() if sum(values) / len(values) < 0.4}
    assert set(watched.ids()) == low
    page.locator('[data-key="below"]').fill("-1")
    assert status.inner_text().startswith("0 of 150")
    watched.close()


def test_a_case_tells_its_time_first_token_and_cost(browser: Any, tmp_path: Path) -> None:
    def timed(case: str, seconds: float | None, **metadata: object) -> Result:
        usage = Usage(10, 5, requests=1, certainty="exact", cost=1_500_000)
        output = Output("x", usage=usage, latency_s=seconds, metadata=metadata)
        return Result("small", Case(case, {"question": case}), output, 0, {"token_f1": Score(0.5)})

    rows = [timed("quick", 0.25, first_token_s=0.12), timed("slow", 2.5, first_token_s="soon"), timed("none", None)]
    path = tmp_path / "timed.html"
    with path.open("w", encoding="utf-8") as file:
        render("html", record(variants=("small",), metrics=(MetricInfo("token_f1"),)), rows, write=file.write)
    watched = Watched(browser, path)
    page = watched.page
    head = page.get_by_role("button", name="Time")
    head.click()
    assert watched.ids() == ["quick", "slow", "none"], "no time is last, whichever way"
    head.click()
    assert watched.ids() == ["slow", "quick", "none"]
    assert page.locator("table.cases .time").all_inner_texts() == ["2.50 s", "250 ms", "–"]
    page.locator('.open[data-id="quick"]').click()
    told = page.locator("dialog .measured").inner_text()
    assert told == "250 ms · first token after 120 ms · 10 tokens in, 5 out · $0.0015"
    page.keyboard.press("Escape")
    page.locator('.open[data-id="slow"]').click()
    assert "first token" not in page.locator("dialog .measured").inner_text()
    watched.close()


def test_more_rows_come_when_asked_for(browser: Any, ordinary: Path) -> None:
    watched = Watched(browser, ordinary)
    assert len(watched.ids()) == 100
    watched.page.get_by_role("button", name="Show 50 more").click()
    assert len(watched.ids()) == 150
    assert not watched.page.locator(".more").is_visible()
    watched.close()


def test_reading_a_case_with_the_keyboard_alone(browser: Any, ordinary: Path) -> None:
    watched = Watched(browser, ordinary)
    page = watched.page
    page.locator("table.cases .open").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    first = page.locator("#case-title").inner_text()
    assert [name.split()[0] for name in dialog.locator("article h3").all_inner_texts()] == ["small", "large"]
    text = dialog.inner_text()
    assert "Aurora speaker" in text
    assert "edition" in text
    assert "✓ relevant" in text
    assert "Repeat 2" in text.title()
    assert "6 of 9 words in common" in text
    page.keyboard.press("ArrowRight")
    second = page.locator("#case-title").inner_text()
    assert second != first
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.id") == second
    watched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_never_scrolls_sideways(browser: Any, ordinary: Path, width: int, scheme: str) -> None:
    watched = Watched(browser, ordinary, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("table.cases .open").first.click()
    assert page.evaluate(
        "document.querySelector('.reader').scrollWidth <= document.querySelector('.reader').clientWidth"
    )
    watched.close()


def test_text_has_contrast_in_both_schemes(browser: Any, ordinary: Path) -> None:
    ratio = """selector => {
      const channels = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const node = document.querySelector(selector);
      const card = getComputedStyle(document.querySelector('section')).backgroundColor;
      const pair = [getComputedStyle(node).color, card].map(channels).map(light).sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    }"""
    for scheme in ("light", "dark"):
        watched = Watched(browser, ordinary, color_scheme=scheme)
        for selector in ("h2", "small", ".status", "td.bad", ".pill.good", ".pill.bad", ".pill.unsure", ".notes"):
            assert watched.page.evaluate(ratio, selector) >= 4.5, (scheme, selector)
        watched.close()


def test_a_run_without_metrics_variants_or_cases_still_opens(browser: Any, tmp_path: Path) -> None:
    for number, (head, results) in enumerate(
        ((record(metrics=(), variants=()), []), (record(metrics=(), variants=("small",)), [result("a")]))
    ):
        path = tmp_path / f"{number}.html"
        path.write_text(page_of(head, results), encoding="utf-8")
        watched = Watched(browser, path)
        assert watched.page.locator("table.cases").count() == 1
        if results:
            watched.page.locator(".open").first.click()
            assert "It is a." in watched.page.locator("dialog").inner_text()
        watched.close()
