import pytest

from metamath_ray.analysis import AnalysisOptions, plan_analysis
from metamath_ray.options import BadOptionsError, parse_options


def parse(*argv):
    return parse_options(AnalysisOptions, argv, prog="analyze_data.py", description="")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "must name at least one of diversity"),
        (
            ("--analyses", "divrsity"),
            "must be 'diversity', 'perplexity', 'overlap', 'length' or 'correlation', got 'divrsity'",
        ),
        (("--analyses", "diversity", "--data", "x"), "analysis diversity needs --base"),
        (("--analyses", "overlap", "--base", "x"), "analysis overlap needs --data"),
        (("--analyses", "diversity", "--data", "x", "--base", "y"), "analysis diversity needs --embedder"),
        (("--analyses", "perplexity", "--data", "x"), "analysis perplexity needs --language-model"),
        (("--analyses", "length"), "analysis length needs --evaluations"),
        (("--analyses", "correlation"), "analysis correlation needs --mixes"),
        (
            ("--analyses", "overlap", "--embedder", "ada-002"),
            "must be endpoint:URL of an OpenAI-compatible server or model:FOLDER",
        ),
        (("--analyses", "overlap", "--embedder", "endpoint:ftp://x"), "the URL begins with http"),
        (
            ("--analyses", "diversity", "--data", "x", "--base", "y", "--embedder", "endpoint:http://h/v1"),
            "needs --embedding.model",
        ),
        (
            (
                "--analyses",
                "perplexity",
                "--data",
                "x",
                "--language-model",
                "endpoint:http://h/v1",
                "--perplexity.model",
                "m",
            ),
            "needs --perplexity.tokenizer",
        ),
        (("--analyses", "overlap", "--bse", "x"), "did you mean --base"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_options_are_one_line(argv, message):
    with pytest.raises(BadOptionsError) as error:
        parse(*(argv or ("--data", "x")))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(BadOptionsError) as error:
        parse("--analyses", "overlap", "--embedder", "endpoint:https://me:hunter2@host/v1")
    assert "hunter2" not in str(error.value)


def test_an_unknown_type_is_named_with_those_there_are(data_file, tmp_path):
    options = parse("--analyses", "overlap", "--data", str(data_file), "--base", str(data_file), "--types", "GSM_SVX",
                    "--output", str(tmp_path / "out"))  # fmt: skip
    with pytest.raises(
        ValueError, match=r"'GSM_SVX' is not in .* its types are GSM_AnsAug, GSM_FOBAR, GSM_Rephrased"
    ):
        plan_analysis(options)


def test_types_and_limit_choose_rows_by_seed(data_file):
    def rows_of(*argv):
        plan = plan_analysis(
            parse("--analyses", "overlap", "--data", str(data_file), "--base", str(data_file), *argv)
        )
        return [row.row_id for row in plan.data.rows]

    fobar = rows_of("--types", "GSM_FOBAR")
    drawn = rows_of("--types", "GSM_FOBAR", "--limit", "5")
    assert len(fobar) == 13
    assert len(drawn) == 5
    assert set(drawn) < set(fobar)
    assert drawn == rows_of("--types", "GSM_FOBAR", "--limit", "5")
    assert drawn != rows_of("--types", "GSM_FOBAR", "--limit", "5", "--seed", "1")
