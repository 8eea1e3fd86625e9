"""The report: complete, self-contained, and nothing that a model wrote can act in it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pfh.hooks.comparison import Comparison
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.ledger import Phase
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Plot, Table
from pfh.report import write_report
from pfh.report.charts import curves, forests, transitions
from pfh.results.records import FamilyRecord, ModelRecord, RunResults, StageRecord
from pfh.statistics.paired import compare_evaluations
from pfh.text import printable
from pfh_cli.tables import print_results
from rich.console import Console

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<!-- <script> ]]> --><svg onload=alert(1)>",
    "\"'><a href='javascript:alert(1)'>x</a>",
    "\x1b[31mred\x1b]8;;http://example.org\x07link\x1b[0m\x9b2J",
    "nul \x00 bidi \u202etxt.exe\u2066 lone \ud800 line\u2028break",
    "[bold red]markup[/bold red] [/] :smile: [link=http://example.org]x[/link]",
    "{{ 7 * 7 }} {% raw %} ${alert(1)}",
]
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def benchmark(scores, name="refusals", texts=(), category="c", **fields):
    samples = tuple(
        Sample(
            id=f"{name}-{i}",
            benchmark=name,
            category=f"{category}{i % 2}",
            prompt=f"prompt {i} of {name}",
            completion=texts[i % len(texts)] if texts else f"completion {i} scored {score}",
            extracted=str(score),
            score=score,
            tokens=3,
        )
        for i, score in enumerate(scores)
    )
    known = {"version": "1", "metric": "refusal_rate", "higher_is_better": True, "judge": "rule 1", "samples": samples}
    return Benchmark(name=name, **(known | fields))


def missing(name="absent", reason="the data cannot be had"):
    return Benchmark(name=name, version="1", metric="rate", higher_is_better=False, status="NOT_RUN", reason=reason)


def family(before, after, name="safety", **fields):
    comparisons = compare_evaluations(
        Evaluation(family=name, benchmarks=tuple(before)), Evaluation(family=name, benchmarks=tuple(after))
    )
    return FamilyRecord(family=name, comparisons=comparisons, before_artifact="b", after_artifact="a", **fields)


def results(*families, headline="The verdict.", title="dpo on reasoning", stages=1, **fields):
    stage = StageRecord(
        method="dpo",
        options={"beta": 0.1},
        before=ModelRecord(name="start", fingerprint="f0"),
        after=ModelRecord(name="tuned", fingerprint="f1"),
        ledger=(Phase(name="training", seconds=61.0, tokens=1234, updates=8, samples=16),),
        curves=tuple({"step": float(i), "loss": 1.0 / (i + 1), "constant": 1.0} for i in range(5)),
        families=families,
    )
    known = {"start": "SAFE: tiny", "domain": "reasoning", "provenance": {"pfh": "0"}, "stages": (stage,) * stages}
    return RunResults(title=title, headline=headline, **(known | fields))


def fell(count=30, **fields):
    """Return a binary benchmark before and after a clear fall: 2/3 of `count` samples go from 1 to 0."""
    return benchmark([1.0] * count, **fields), benchmark([float(i % 3 == 0) for i in range(count)], **fields)


def hostile_report(path, texts):
    """Put `texts` everywhere that a model, a dataset or a plugin can write to."""
    all_of_it = " ".join(texts)
    before, after = fell(
        texts=texts, name=all_of_it, category=texts[0], metric=all_of_it, judge=all_of_it, source=all_of_it
    )
    record = family(
        [before, missing(reason=all_of_it)],
        [after, missing(reason=all_of_it)],
        findings=(all_of_it,),
        tables=(Table(title=all_of_it, columns=(all_of_it,), rows=((all_of_it,),), note=all_of_it),),
    )
    written = results(record, headline=all_of_it, title=all_of_it, notes=(all_of_it,), provenance={"x": all_of_it})
    write_report(path, written, {(0, "safety"): [(before, after)]})
    return written


class Page(HTMLParser):
    """The elements, attributes, scripts and visible text of a page, as a browser would find them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self.visible = [], [], [], []
        self.open_script = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.open_script = dict(attrs)
            self.scripts.append((self.open_script, []))

    def handle_endtag(self, tag):
        if tag == "script":
            self.open_script = None

    def handle_data(self, data):
        if self.open_script is not None:
            self.scripts[-1][1].append(data)
        elif self.lasttag != "style":
            self.visible.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.visible))

    def data(self, name):
        return next(json.loads("".join(text)) for attrs, text in self.scripts if attrs.get("id") == name)


def page(path):
    return Page(path.read_text(encoding="utf-8"))


def chromium(path, folder):
    """Return the page's DOM after its scripts ran, and what the browser logged."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    flags += ["--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", path.as_uri()],
        capture_output=True,
        timeout=180,
        check=True,
    )
    return done.stdout.decode(), [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]


def test_the_verdict_comes_first_and_what_was_not_run_is_never_zero(tmp_path):
    before, after = fell()
    record = family([before, missing()], [after, missing()], findings=("A finding.",))
    write_report(tmp_path / "r.html", results(record), {(0, "safety"): [(before, after)]})
    text = page(tmp_path / "r.html").text
    parts = "The verdict.|1 worse|The run at a glance|A finding.|Change from before|Figures|What became of|By category"
    parts += "|What was spent|Training curves|Samples, before and after|How to read this"
    places = [text.index(part) for part in parts.split("|")]
    assert places == sorted(places)
    assert "refusals (−66.7 pp, n 30, adjusted p <0.0001)" in text
    row = text[text.rindex("absent") :][:80]
    assert "the data cannot be had" in row
    assert "0.0" not in row


def test_the_page_asks_nothing_of_the_network_and_runs_only_its_own_scripts(tmp_path):
    before, after = fell()
    write_report(tmp_path / "r.html", results(family([before], [after])), {(0, "safety"): [(before, after)]})
    found = page(tmp_path / "r.html")
    policy = next(value for _, value in found.attributes if value and "default-src" in value)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    ran = ["".join(text) for attrs, text in found.scripts if "type" not in attrs]
    assert len(ran) == 1
    assert all(base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy for text in ran)
    assert not [name for name, _ in found.attributes if name in {"src", "srcset", "action"}]
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    assert "plotly" not in (tmp_path / "r.html").read_text()


def test_hostile_text_stays_text(tmp_path):
    before, after = fell()
    write_report(tmp_path / "plain.html", results(family([before, missing()], [after, missing()])), {})
    hostile_report(tmp_path / "r.html", HOSTILE)
    found, plain = page(tmp_path / "r.html"), page(tmp_path / "plain.html")
    browsing = {"form", "label", "select", "option", "input", "kbd", "button", "noscript"}
    assert set(found.tags) <= set(plain.tags) | browsing
    assert len(found.scripts) == len(plain.scripts)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not UNSEEN.search((tmp_path / "r.html").read_text(encoding="utf-8"))
    shown = {printable(text) for text in HOSTILE}
    assert shown <= set(found.data("samples-data")["texts"])
    assert all(re.sub(r"\s+", " ", text) in found.text for text in shown)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("<>&\"'`/=!-\x00\x1b"), min_size=1, max_size=40))
def test_any_text_leaves_the_structure_of_the_page_alone(tmp_path, text):
    hostile_report(tmp_path / "any.html", [text])
    if not (tmp_path / "plain.html").exists():
        hostile_report(tmp_path / "plain.html", ["x"])
    assert page(tmp_path / "any.html").tags == page(tmp_path / "plain.html").tags


def test_samples_carry_both_sides_and_every_text_once(tmp_path):
    before, after = fell(count=6, sensitive=True)
    write_report(
        tmp_path / "r.html",
        results(family([before], [after]), stages=2),
        {(stage, "safety"): [(before, after)] for stage in range(2)},
    )
    data = page(tmp_path / "r.html").data("samples-data")
    assert [(group["stage"], group["sensitive"]) for group in data["groups"]] == [(0, True), (1, True)]
    assert len(set(data["texts"])) == len(data["texts"])
    sample = data["groups"][1]["samples"][1]
    assert (sample["id"], sample["transition"], sample["change"]) == ("refusals-1", "1→0", "worse")
    assert data["texts"][sample["before"]["text"]] == "completion 1 scored 1.0"
    assert data["texts"][sample["after"]["text"]] == "completion 1 scored 0.0"


def test_a_report_without_samples_or_families_is_written_too(tmp_path):
    write_report(tmp_path / "r.html", results(), {})
    assert "holds no samples" in page(tmp_path / "r.html").text


def test_a_plot_brings_its_library_and_no_links(tmp_path):
    figure = {"data": [{"type": "bar", "y": [1, 2], "text": ["<a href='http://example.org'>x</a>", "<b>y</b>"]}]}
    record = family(*[[side] for side in fell()], plots=(Plot(title="p", figure=figure),))
    write_report(tmp_path / "r.html", results(record), {})
    found = page(tmp_path / "r.html")
    assert any("Plotly, Inc." in "".join(text)[:300] for _, text in found.scripts)
    assert found.data("plots-data")[0]["data"][0]["text"] == ["&lt;a href='http://example.org'>x&lt;/a>", "<b>y</b>"]


def test_forest_marks_lie_on_the_axis_and_scales_are_not_mixed():
    before, after = fell()
    longer = {"name": "length", "metric": "tokens", "higher_is_better": None}
    record = family(
        [before, benchmark([10.0, 12.0, 14.0, 16.0], **longer)], [after, benchmark([11.0, 15.0, 14.5, 19.0], **longer)]
    )
    shares, lengths = forests(record.comparisons)
    assert (shares.unit, lengths.unit) == ("percentage points", "tokens")
    for forest in (shares, lengths):
        places = [place for place, _ in forest.ticks]
        assert places[0] == 0
        assert places[-1] == 100
        assert places == sorted(places)
        assert (forest.zero, "0") in forest.ticks
        assert all(0 <= mark.low <= mark.delta <= mark.high <= 100 for mark in forest.rows)
    assert shares.rows[0].delta < shares.zero


def test_transitions_add_up_and_know_the_good_direction():
    row = Comparison(
        benchmark="b",
        version="1",
        metric="m",
        higher_is_better=False,
        status="MEASURED",
        n=10,
        before=0.6,
        n10=4,
        n01=1,
    )
    found = transitions(row)
    assert found is not None
    assert found.counts == (("1→1", 2, "same"), ("1→0", 4, "better"), ("0→1", 1, "worse"), ("0→0", 3, "same"))


def test_curves_skip_what_does_not_move_and_what_is_no_number():
    rows = [
        {"step": 0.0, "kl": 2.0, "flat": 1.0, "loss": 1.0},
        {"step": 1.0, "loss": None},
        {"step": 2.0, "loss": 0.5, "kl": 1.0},
    ]
    loss, kl = curves(rows)
    assert (loss.name, kl.name) == ("loss", "kl")
    assert loss.points == "0.00,0.00 100.00,100.00"
    assert curves([{"step": 1.0, "loss": float("nan")}]) == ()


@needs_chromium
def test_a_browser_draws_samples_and_plots_without_an_error(tmp_path):
    record = family(*[[side] for side in fell()], plots=(Plot(title="p", figure={"data": [{"y": [1, 2]}]}),))
    write_report(tmp_path / "r.html", results(record), {(0, "safety"): [fell(texts=HOSTILE)]})
    dom, logged = chromium(tmp_path / "r.html", tmp_path)
    found = Page(dom)
    assert logged == []
    assert found.tags.count("article") == 20
    assert ("class", "main-svg") in found.attributes
    assert "<title>dpo on reasoning · pfh</title>" in dom
    assert "red\\x1b]8;;http://example.org\\x07link" in found.text


@needs_chromium
def test_filters_folding_and_keys_work(tmp_path):
    """The page's policy forbids a test's script too, so a copy with an open policy is driven instead."""
    unsafe, plain = fell(count=60, sensitive=True), fell(count=30, name="plain")
    pairs = {(0, "safety"): [unsafe, plain]}
    write_report(tmp_path / "r.html", results(family(*zip(*pairs[0, "safety"], strict=True))), pairs)
    steps = """
      const seen = {}, form = document.getElementById("filters");
      const cards = () => [...document.querySelectorAll("article.sample")];
      const set = (name, value) => {
        form.elements[name].value = value;
        form.dispatchEvent(new Event("input"));
      };
      const count = () => document.getElementById("sample-count").textContent;
      const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      seen.all = count();
      seen.firstIsWorse = cards()[0].classList.contains("worse");
      seen.folded = document.querySelectorAll(".fold").length;
      seen.shownBefore = cards()[0].textContent.includes("completion ");
      cards()[0].querySelector(".fold").click();
      seen.shownAfter = cards()[0].textContent.includes("scored 1");
      press("j"); press("j"); press("k"); press("j");
      seen.focused = cards().indexOf(document.activeElement);
      press("o");
      seen.opened = cards()[1].querySelectorAll(".fold").length;
      set("benchmark", "=plain");
      seen.plain = count();
      seen.unfolded = document.querySelectorAll(".fold").length;
      set("transition", "=1→1");
      seen.kept = count();
      set("search", "PROMPT 3 ");
      seen.searched = cards().map((card) => card.querySelector(".sample-id").textContent);
      document.querySelector("button.count.worse").click();
      seen.jumped = count();
      document.querySelector('[data-page="1"]').click();
      seen.second = count();
      document.documentElement.dataset.seen = JSON.stringify(seen);
    """
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    text = re.sub(r'content="default-src[^"]*"', "content=\"script-src 'unsafe-inline'\"", text)
    text = text.replace("</body>", f"<script>{{{steps}}}</script></body>")
    (tmp_path / "driven.html").write_text(text, encoding="utf-8")
    dom, logged = chromium(tmp_path / "driven.html", tmp_path)
    assert logged == []
    assert json.loads(dict(Page(dom).attributes)["data-seen"]) == {
        "all": "1–20 of 90 samples",
        "firstIsWorse": True,
        "folded": 40,
        "shownBefore": False,
        "shownAfter": True,
        "focused": 1,
        "opened": 0,
        "plain": "1–20 of 30 matches among 90 samples",
        "unfolded": 0,
        "kept": "10 matches among 90 samples",
        "searched": ["plain-3"],
        "jumped": "1–20 of 40 matches among 90 samples",
        "second": "21–40 of 40 matches among 90 samples",
    }


def printed(written, width=80, **options):
    console = Console(file=StringIO(), width=width, **options)
    print_results(written, console)
    return console.file.getvalue()


def test_the_terminal_shows_the_verdict_within_eighty_columns():
    record = family(
        *[[side, missing()] for side in fell(name="a_rather_long_benchmark_name")], findings=("A finding.",)
    )
    text = printed(results(record))
    assert text.startswith("The verdict.\n")
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines() if "100.0%" in line)
    assert re.search(r"30 100.0% 33.3% −66.7 \[.*\] <0.0001 worse", row)
    assert "NOT_RUN absent: the data cannot be had" in text
    assert "1→0" in printed(results(record), width=140)
    assert "\x1b" not in text


def test_the_terminal_shows_hostile_text_as_text(tmp_path):
    written = hostile_report(tmp_path / "r.html", HOSTILE)
    coloured = printed(written, width=200, force_terminal=True, color_system="standard")
    text = re.sub(r"\x1b\[[0-9;]*m", "", coloured)  # what Rich itself adds
    assert not UNSEEN.search(text)
    assert "[bold red]markup[/bold red]" in text
    assert r"\x1b[31mred" in text


def test_a_console_without_unicode_gets_plain_ascii(tmp_path):
    with (tmp_path / "out.txt").open("w", encoding="ascii") as file:
        print_results(results(family(*[[side] for side in fell()])), Console(file=file, width=80))
    assert "-66.7 [" in (tmp_path / "out.txt").read_text(encoding="ascii")
