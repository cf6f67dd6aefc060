"""What a mix holds: names, counts, built-in sets, files."""

from pathlib import Path

import pytest

from metamath_ray.ablation._mixes import load_mixes, resolve_mixes, share_out
from metamath_ray.ablation._pool import MixRow, Pool


def make_pool(**counts: int) -> Pool:
    groups = {
        kind: tuple(MixRow(f"{kind}-{i}", kind, f"{kind} question {i}", "r", tokens=10) for i in range(count))
        for kind, count in counts.items()
    }
    return Pool(groups, {kind: {} for kind in groups})


FULL = make_pool(GSM_SFT=20, GSM_AnsAug=40, MATH_AnsAug=8, GSM_Rephrased=30, GSM_SV=10, GSM_FOBAR=5)


def resolve(given: str, pool: Pool = FULL) -> dict[str, dict[str, int | str]]:
    return {mix.name: dict(mix.parts) for mix in resolve_mixes(load_mixes([given]), pool)}


def save(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_table1_takes_all_the_rows_there_are_of_each_type() -> None:
    assert resolve("table1") == {
        "SFT": {"SFT": 20},
        "A": {"AnsAug": 48},
        "R": {"Rephrased": 30},
        "A+R": {"AnsAug": 48, "Rephrased": 30},
        "A+R+SV+FOBAR": {"AnsAug": 48, "Rephrased": 30, "SV": 10, "FOBAR": 5},
    }


def test_incorrect_has_as_many_wrong_paths_as_right_ones_and_solutions() -> None:
    pool = make_pool(GSM_SFT=20, GSM_RFT=12, GSM_incorrect=7)
    assert resolve("incorrect", pool) == {
        "SFT": {"SFT": 7},
        "incorrect": {"incorrect": 7},
        "correct": {"RFT": 7},
    }


def test_rft_takes_all_distinct_paths() -> None:
    assert resolve("rft", make_pool(GSM_SFT=3, GSM_RFT=9))["RFT"] == {"RFT": 9}


def test_saturation_grows_a_quarter_by_the_same_or_by_new_questions_in_proportion() -> None:
    mixes = resolve("saturation")
    assert [name for name in mixes if "new" not in name] == ["A-12", "A-24", "A-36", "A-48"]
    assert mixes["A-12+new-12"] == {"AnsAug": 12, "Rephrased": 8, "SV": 3, "FOBAR": 1}
    assert mixes["A-12+new-36"] == {"AnsAug": 12, "Rephrased": 24, "SV": 8, "FOBAR": 4}


def test_saturation_never_asks_for_more_new_questions_than_there_are() -> None:
    mixes = resolve("saturation", make_pool(GSM_AnsAug=40, GSM_Rephrased=4, GSM_SV=1, GSM_FOBAR=1))
    assert mixes["A-10+new-6"] == {"AnsAug": 10, "Rephrased": 4, "SV": 1, "FOBAR": 1}


def test_a_file_names_types_of_one_source_or_of_all(tmp_path: Path) -> None:
    given = save(tmp_path / "m.yaml", "one: {GSM_AnsAug: 5, SV: all}\ntwo: {AnsAug: 41}\n")
    assert resolve(given) == {"one": {"GSM_AnsAug": 5, "SV": 10}, "two": {"AnsAug": 41}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "A: {AnsAgu: 5}", "mix 'A': there is no type 'AnsAgu', did you mean AnsAug?", id="unknown"
        ),
        pytest.param("A: {zzz: 5}", "mix 'A': there is no type 'zzz'; there are SFT, AnsAug, ", id="unlike"),
        pytest.param("A: {SV: 11}", "mix 'A' asks for 11 rows of SV; there are 10", id="too-many"),
        pytest.param("A: {AnsAug: 5, GSM_AnsAug: 1}", "are the same rows (GSM_AnsAug)", id="twice"),
        pytest.param("A: {SV: 0}", "A: SV must be a number of rows or 'all', got 0", id="none"),
        pytest.param("A: {SV: 1.5}", "SV must be a number of rows or 'all', got 1.5", id="half"),
        pytest.param("A: {SV: yes}", "SV must be a number of rows or 'all', got True", id="bool"),
        pytest.param("A: []", "A must map types to rows, got []", id="list"),
        pytest.param("a/b: {SV: 1}", "got 'a/b'", id="slash"),
        pytest.param("- A", "must map names of mixes to types and rows", id="no-mapping"),
        pytest.param("A: {", "is no YAML", id="no-yaml"),
    ],
)
def test_a_bad_mix_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        resolve(save(tmp_path / "m.yaml", text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_set_of_mixes_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="mixes must be of table1, rft, incorrect, saturation, or a path"):
        load_mixes(["table2"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: No such file"):
        load_mixes([str(tmp_path / "none.yaml")])


def test_one_mix_of_two_sets_is_run_once_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    same, other = save(tmp_path / "same.yaml", "SFT: {SFT: all}"), save(tmp_path / "o.yaml", "SFT: {SFT: 3}")
    assert len(resolve_mixes(load_mixes(["table1", same]), FULL)) == 5
    with pytest.raises(ValueError, match="two mixes have the name 'SFT'"):
        resolve_mixes(load_mixes(["table1", other]), FULL)


def test_a_type_without_rows_is_refused_with_what_the_dev_problems_took() -> None:
    pool = Pool({"GSM_SV": (), **FULL.groups}, {**FULL.dropped, "GSM_SV": {"dev": 9}})
    empty = Pool({**pool.groups, "GSM_SV": ()}, pool.dropped)
    source = load_mixes(["table1"])
    with pytest.raises(ValueError, match="asks for all rows of SV; there are 0 beside 9 of dev problems"):
        resolve_mixes(source, empty)


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        pytest.param(10, {"a": 20, "b": 20}, {"a": 5, "b": 5}, id="even"),
        pytest.param(7, {"a": 20, "b": 10}, {"a": 5, "b": 2}, id="largest-remainder"),
        pytest.param(0, {"a": 0}, {"a": 0}, id="nothing"),
        pytest.param(3, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}, id="all"),
    ],
)
def test_parts_are_shared_out_whole(total: int, weights: dict[str, int], parts: dict[str, int]) -> None:
    assert share_out(total, weights) == parts
