"""The page of a training run: what it says equals the files, and no text in them acts on it."""

import html
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metamath_ray.reports import BadReportInputError, write_training_report

from .training_outputs import MANIFEST, make_steps, make_summary, write_output

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)> \"' {{ 7 * 7 }} & \u2028"


class Tags(HTMLParser):
    """The tags of a page with their attributes, as a browser's parser splits them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_output(tmp_path / "train", make_steps(300, resumed_at=(101, 213)))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return write_output(tmp_path / "train", make_steps(300, resumed_at=(101,))[:137], finished=False)


def page_of(output: Path) -> str:
    path = write_training_report(output)
    assert path == output / "report.html"
    return path.read_text(encoding="utf-8")


def headline(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", text))


def test_headline_figures_equal_the_summary(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    assert headline(page_of(output)) == {
        "Loss": f"{summary['final_loss']:.4f}",
        "Steps": "300",
        "Response tokens learnt": f"{summary['response_tokens']:,}",
        "Response tokens a second": f"{summary['response_tokens_per_s']:.4g}",
        "Share of peak": "48.2 %",
        "Peak memory": f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB",
        "Time": f"1 h {(summary['seconds'] - 3600) // 60:.0f} min",
    }


def test_an_unfinished_run_is_said_to_be_one(unfinished: Path) -> None:
    text = page_of(unfinished)
    assert "Running or stopped at step 137 of about 300" in text
    assert "Finished" not in text
    steps = [json.loads(line) for line in (unfinished / "metrics.jsonl").read_text().splitlines()]
    shown = headline(text)
    assert shown["Steps"] == "137"
    assert shown["Loss"] == f"{sum(one['loss'] for one in steps[-10:]) / 10:.4f}"
    assert shown["Response tokens learnt"] == f"{sum(one['response_tokens'] for one in steps):,}"


def test_a_finished_run_that_goes_on_is_unfinished_again(output: Path) -> None:
    (output / "summary.json").write_text(json.dumps(make_summary(make_steps(200))))
    text = page_of(output)
    assert "Running or stopped at step 300" in text
    assert headline(text)["Steps"] == "300"


def test_planned_steps_are_those_asked_for(tmp_path: Path) -> None:
    output = write_output(tmp_path / "train", make_steps(20), finished=False, max_steps=80)
    assert "Running or stopped at step 20 of 80," in page_of(output)


def test_the_line_being_written_is_left_out(unfinished: Path) -> None:
    whole = page_of(unfinished)
    with (unfinished / "metrics.jsonl").open("a") as file:
        file.write('{"step": 138, "epo')
    assert page_of(unfinished) == whole


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    steps = make_steps(120, resumed_at=(50,))
    one, other = (write_output(tmp_path / name, steps) for name in ("one", "other"))
    first = write_training_report(one).read_bytes()
    assert write_training_report(one).read_bytes() == first  # the page itself is no input
    assert write_training_report(other).read_bytes() == first


def test_resumes_are_marked_in_every_chart_and_said(output: Path) -> None:
    text = page_of(output)
    assert "resumed at steps 101, 213," in " ".join(text.split()).replace("steps 101", "steps 101")
    marks = re.findall(r'class="resume" d="M([\d.]+) 0', text)
    assert marks == [f"{1000 * (step - 1.5) / 299:.1f}" for step in (101, 213)] * 5


def test_every_row_of_the_table_equals_its_step(output: Path) -> None:
    text = page_of(output)
    rows = re.findall(r'<tr><th scope="row">(\d+)</th><td>([\d.]+)</td><td><b>([\d.]+)</b>', text)
    steps = make_steps(300, resumed_at=(101, 213))
    shown = [steps[0], *steps[9::10]]
    assert rows == [(str(s["step"]), f"{s['epoch']:.2f}", f"{s['loss']:.4f}") for s in shown]


@pytest.mark.parametrize("num_steps", [1, 2, 9, 30, 31, 299, 4_321], ids=str)
def test_the_table_of_steps_stays_short_and_has_the_ends(tmp_path: Path, num_steps: int) -> None:
    text = page_of(write_output(tmp_path / "train", make_steps(num_steps), finished=num_steps > 1))
    section = text[text.index('id="steps"') : text.index('id="data"')]
    rows = [int(row.replace(",", "")) for row in re.findall(r'<th scope="row">([\d,]+)</th>', section)]
    assert (rows[0], rows[-1]) == (1, num_steps)
    assert len(rows) <= 32


def test_data_and_what_was_dropped_equal_the_manifest(output: Path) -> None:
    text = page_of(output)
    section = text[text.index('id="data"') : text.index('id="run"')]
    cells = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td>', section))
    assert (cells["Rows"], cells["Packs"], cells["Tokens"]) == ("7,431", "1,600", "779,878")
    assert cells["Real tokens, if padded to full length"] == "95.2 %"
    assert {name: cells[name] for name in ("Blank query", "No answer tail", "Duplicate", "Too long")} == {
        "Blank query": "3",
        "No answer tail": "0",
        "Duplicate": "26",
        "Too long": "13",
    }
    assert cells["All reasons"] == "42"


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_hostile_text_adds_no_element_and_is_shown_as_it_is(tmp_path: Path, finished: bool) -> None:
    output = write_output(
        tmp_path / "train", make_steps(30), finished=finished, model=HOSTILE, recipe=HOSTILE, data=HOSTILE
    )
    manifest = MANIFEST | {"key": HOSTILE, "tokenizer": HOSTILE, "dropped": {HOSTILE: 1}}
    (output / "data" / "manifest.json").write_text(json.dumps(manifest))
    if finished:
        summary = make_summary(make_steps(30), versions={HOSTILE: HOSTILE}, output_model=HOSTILE)
        (output / "summary.json").write_text(json.dumps(summary))
    text = page_of(output)
    tags = Tags(text).all
    kinds = Counter(tag for tag, _ in tags)
    assert (kinds["script"], kinds["img"], kinds["style"]) == (0, 0, 1)
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert HOSTILE in html.unescape(text)


def test_the_page_loads_nothing_and_may_run_nothing(output: Path) -> None:
    tags = Tags(page_of(output)).all
    assert not [a for _, a in tags if "src" in a or not (a.get("href") or "#").startswith("#")]
    policy = next(a["content"] or "" for _, a in tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_no_credential_of_the_storage_reaches_the_page(tmp_path: Path) -> None:
    checkpoint = {"storage": "s3://me:hunter2@bucket/runs?token=hunter2"}
    assert "hunter2" not in page_of(
        write_output(tmp_path / "train", make_steps(10), checkpoint=checkpoint, hub_token="hunter2")
    )


def test_a_run_that_diverged_says_so(tmp_path: Path) -> None:
    steps = make_steps(60)
    for one in steps[40:]:
        one["loss"] = one["grad_norm"] = None
    text = page_of(write_output(tmp_path / "train", steps, finished=False))
    assert text.count("20 steps without a finite value") == 2
    assert headline(text)["Loss"] == "–"
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower()


def test_an_unknown_peak_is_a_dash(tmp_path: Path) -> None:
    steps = [one | {"mfu": None} for one in make_steps(30)]
    text = page_of(write_output(tmp_path / "train", steps, finished=False))
    assert headline(text)["Share of peak"] == "–"
    assert "peak is not known" in text


def test_20_000_steps_make_a_page_below_200_kb(tmp_path: Path) -> None:
    output = write_output(tmp_path / "train", make_steps(20_000), finished=False)
    assert write_training_report(output).stat().st_size < 200_000


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "data/manifest.json"])
def test_a_missing_file_is_one_clear_error(name: str, output: Path) -> None:
    (output / name).unlink()
    with pytest.raises(BadReportInputError, match=rf"{name} is missing; a training run writes it") as caught:
        write_training_report(output)
    assert "\n" not in str(caught.value)
    assert not (output / "report.html").exists()


def test_a_missing_output_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadReportInputError, match="nowhere is no folder"):
        write_training_report(tmp_path / "nowhere")


def _first_step(**changes: Any) -> str:
    return json.dumps(make_steps(1)[0] | changes) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param("metrics.jsonl", "", r"metrics\.jsonl holds no step yet", id="no step"),
        pytest.param("metrics.jsonl", '{"step": 1', r"holds no step yet", id="a torn first step"),
        pytest.param(
            "metrics.jsonl", "{\n{}\n", r"metrics\.jsonl line 1 is no JSON", id="torn in the middle"
        ),
        pytest.param(
            "metrics.jsonl", "{}\n", r"metrics\.jsonl line 1: step: Field required", id="empty step"
        ),
        pytest.param(
            "metrics.jsonl", _first_step(loss="low"), r"line 1: loss: Input should", id="loss in words"
        ),
        pytest.param("summary.json", "{", r"summary\.json is no JSON", id="torn summary"),
        pytest.param("data/manifest.json", "[]", r"manifest\.json: the whole of it", id="list as manifest"),
        pytest.param("config.yaml", "a: [", r"config\.yaml is no YAML", id="torn config"),
        pytest.param(
            "config.yaml", "- a", r"config\.yaml must hold a mapping .* got list", id="list as config"
        ),
        pytest.param(
            "config.yaml", "epochs: many", r"config\.yaml: epochs: Input should", id="epochs in words"
        ),
    ],
)
def test_a_damaged_file_is_named(name: str, text: str, said: str, output: Path) -> None:
    (output / name).write_text(text)
    with pytest.raises(BadReportInputError, match=said):
        write_training_report(output)


@pytest.fixture
def edit_step(unfinished: Path) -> Callable[..., None]:
    def edit(**changes: Any) -> None:
        lines = (unfinished / "metrics.jsonl").read_text().splitlines()
        lines[50] = json.dumps(json.loads(lines[50]) | changes)
        (unfinished / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    return edit


def test_one_wild_step_leaves_the_others_readable(unfinished: Path, edit_step: Callable[..., None]) -> None:
    edit_step(grad_norm=5_000.0)
    assert re.search(r"\d steps? lies? above the axis, up to 5,000\.", page_of(unfinished))


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e-12], ids=str)
def test_any_learning_rate_can_be_drawn(tmp_path: Path, rate: float) -> None:
    steps = [one | {"learning_rate": rate} for one in make_steps(12)]
    assert "Learning rate" in page_of(write_output(tmp_path / "train", steps))
