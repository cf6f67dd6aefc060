"""The page of a demo: it says what the stages' files say, honestly, and no text of a model acts on it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_stages import write_stages

from metamath_ray.reports import BadReportInputError, DemoFolders, DemoStep, write_demo_report

from .conftest import Page

ACTIVE = ("script", "img", "iframe", "link", "object", "embed", "base")


@pytest.fixture
def folders(tmp_path: Path) -> DemoFolders:
    return write_stages(tmp_path)


@pytest.fixture
def write(tmp_path: Path, folders: DemoFolders) -> Callable[..., Path]:
    def write_page(**changes: bool) -> Path:
        steps = [
            DemoStep(
                "build <it>", "python jobs/build.py --run-dir 'a b'", 31.4, folders.build / "report.html"
            ),
            DemoStep("train it", "python jobs/train.py", None, None),
        ]
        about = "has 135 million parameters."
        return write_demo_report(
            tmp_path / "demo.html", folders, steps=steps, student="SmolLM2", about_student=about, **changes
        )

    return write_page


@pytest.fixture
def page(write: Callable[..., Path]) -> Page:
    return Page(write().read_text(encoding="utf-8"))


def words_of(page: Page) -> str:
    return " ".join(page.words.split())


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param("From 6 seed problems to a fine-tuned student", id="title"),
        pytest.param("13.3 % → 33.3 %", id="accuracy"),
        pytest.param("5.3 % to 29.7 %", id="wilson-before"),
        pytest.param("19.2 % to 51.2 %", id="wilson-after"),
        pytest.param("+20.0", id="difference"),
        pytest.param("better, by no more than chance may give", id="mcnemar"),
        pytest.param("48 optimizer steps over about 490 of the 766 rows", id="training"),
        pytest.param("has 135 million parameters", id="student"),
        pytest.param("python jobs/build.py --run-dir 'a b'", id="command"),
        pytest.param("31.4 s", id="time"),
        pytest.param("Original question of bundled-train-", id="seed"),
        pytest.param("An incorrect path of the same question", id="rejected-path"),
        pytest.param("Wrong before, right after: 16", id="wrong-to-right"),
        pytest.param("Right before, wrong after: 4", id="right-to-wrong"),
        pytest.param("Right both times: 4", id="right-twice"),
    ],
)
def test_the_page_tells_what_the_files_say(page: Page, claim: str) -> None:
    assert claim in words_of(page)


def test_one_seed_shows_all_four_augmentations(page: Page) -> None:
    words = words_of(page)
    assert words.count("Original question of") == 1
    assert all(f"BUNDLED_{kind}" in words for kind in ("AnsAug", "Rephrased", "SV", "FOBAR"))
    assert "Original question of bundled-train-0." not in words  # it lacks one


def test_no_text_of_a_model_acts_on_the_page(page: Page) -> None:
    assert [tag for tag, _ in page.tags if tag in ACTIVE] == []
    assert not any(attribute.startswith("on") for _, attrs in page.tags for attribute in attrs)
    assert "<script>document.title='owned'</script>" in page.words
    assert "49" not in [word for word in page.words.split() if word == "49"]


def test_links_lead_to_the_stages_pages_wherever_the_folder_lies(page: Page, tmp_path: Path) -> None:
    links = {
        attrs["href"] for tag, attrs in page.tags if tag == "a" and not str(attrs["href"]).startswith("#")
    }
    assert {
        "build/report.html", "full/training/report.html", "full/before/report.html", "full/after/report.html",
        "full/comparison/comparison.html",
    } == links  # fmt: skip
    assert all((tmp_path / str(link)).is_file() for link in links)


def test_the_same_files_give_the_same_bytes(write: Callable[..., Path]) -> None:
    assert write().read_bytes() == write().read_bytes()


def test_the_fast_variant_says_that_it_measures_next_to_nothing(write: Callable[..., Path]) -> None:
    assert "The fast variant." in Page(write(is_fast=True).read_text()).words
    assert "The fast variant." not in Page(write().read_text()).words


@pytest.mark.parametrize("num_steps", [1, 5, 12])
def test_a_short_training_is_told_too(tmp_path: Path, num_steps: int) -> None:
    folders = write_stages(tmp_path / "short", num_steps=num_steps)
    path = write_demo_report(
        tmp_path / "short.html", folders, steps=[], student="s", about_student="is small."
    )
    assert f"{num_steps} optimizer steps" in Page(path.read_text()).words


def test_one_benchmark_alone_is_told_too(write: Callable[..., Path], folders: DemoFolders) -> None:
    path = folders.comparison / "comparison.json"
    document = json.loads(path.read_text())
    del document["benchmarks"]["bundled_backward"]
    path.write_text(json.dumps(document))
    assert "bundled_backward" not in Page(write().read_text()).words


@pytest.mark.parametrize(
    "name",
    [
        "build/summary.json",
        "full/training/metrics.jsonl",
        "full/before/summary.json",
        "full/comparison/comparison.json",
    ],
)
def test_a_stage_that_is_not_finished_is_one_clear_line(
    write: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(BadReportInputError, match=Path(name).name) as caught:
        write()
    assert "\n" not in str(caught.value)
