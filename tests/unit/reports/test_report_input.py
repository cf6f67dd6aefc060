"""A run directory that is not whole ends with one line that names the file."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metamath_ray.reports import BadReportInputError, write_build_report, write_dataset_card

WRITERS = [pytest.param(write_build_report, id="page"), pytest.param(write_dataset_card, id="card")]
Writer = Callable[[Path], Path]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "candidates", "dataset"])
def test_a_missing_file_is_one_clear_error(write: Writer, name: str, run_dir: Path) -> None:
    path = run_dir / name
    rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(BadReportInputError, match=rf"{name}.*a finished build writes") as caught:
        write(run_dir)
    assert "\n" not in str(caught.value)
    assert not (run_dir / "report.html").exists()
    assert not (run_dir / "README.md").exists()


@pytest.mark.parametrize("write", WRITERS)
def test_a_missing_run_directory_is_one_clear_error(write: Writer, tmp_path: Path) -> None:
    with pytest.raises(BadReportInputError, match="nowhere is no folder"):
        write(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param("summary.json", "{", r"summary\.json is no JSON", id="torn summary"),
        pytest.param("summary.json", "{}", r"summary\.json: version: Field required", id="empty summary"),
        pytest.param("config.yaml", "a: [", r"config\.yaml is no YAML", id="torn config"),
        pytest.param(
            "config.yaml", "- a", r"config\.yaml must hold a mapping .* got list", id="list as config"
        ),
    ],
)
def test_a_damaged_file_is_named(name: str, text: str, said: str, run_dir: Path) -> None:
    (run_dir / name).write_text(text)
    with pytest.raises(BadReportInputError, match=said):
        write_build_report(run_dir)


def test_a_torn_candidates_file_is_named(run_dir: Path) -> None:
    (run_dir / "candidates" / "part-00001.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(BadReportInputError, match=r"part-00001\.parquet can't be read"):
        write_build_report(run_dir)


def test_a_missing_column_is_named(run_dir: Path) -> None:
    pq.write_table(pa.table({"question": ["?"]}), run_dir / "candidates" / "part-00000.parquet")
    with pytest.raises(BadReportInputError, match=r"part-00000\.parquet lacks the columns question_id"):
        write_build_report(run_dir)
