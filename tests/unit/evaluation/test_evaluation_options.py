"""The options of an evaluation: what goes through, and the one line for what does not."""

import pytest

from metamath_ray.evaluation import PAPER_STOP, EvaluationOptions
from metamath_ray.options import BadOptionsError, parse_options


def parse(*argv: str) -> EvaluationOptions:
    return parse_options(EvaluationOptions, argv, prog="evaluate", description="")


def test_the_defaults_are_the_papers():
    options = parse("--model", "m")
    assert options.stop == PAPER_STOP
    assert len(PAPER_STOP) == 10
    assert options.max_new_tokens_for("gsm8k", style="gsm") == 512
    assert options.max_new_tokens_for("math", style="math") == 2048
    assert options.samples == 0


@pytest.mark.parametrize(
    ("name", "limit"),
    [("math", 64), ("my-set", 100), ("my_set", 100), ("gsm8k", 32)],
)
def test_token_limits_are_by_benchmark_then_for_all(name, limit):
    options = parse(
        *("--model", "m", "--max-new-tokens.math", "64"),
        *("--max-new-tokens.my-set", "100", "--max-new-tokens.all", "32"),
        *("--benchmarks", "math", "my_set:x.jsonl", "gsm8k"),
    )
    assert options.max_new_tokens_for(name, style="math") == limit


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param([], "model or base_url must be given", id="nothing to do"),
        pytest.param(
            ["--model", "m", "--temperature", "1"], "temperature needs samples", id="temperature alone"
        ),
        pytest.param(["--compare", "a"], "compare takes two folders", id="one folder to compare"),
        pytest.param(["--compare", "a", "b", "--regrade"], "give one of them", id="compare and regrade"),
        pytest.param(
            ["--base-url", "http://h", "--exact"], "need an engine of our own", id="exact at a server"
        ),
        pytest.param(["--base-url", "h:80"], "must be an http:// or https:// address", id="no URL"),
        pytest.param(
            ["--model", "m", "--exact", "--engine.dtype", "bfloat16"], "float32", id="exact in bf16"
        ),
        pytest.param(
            ["--model", "m", "--batch-invariant", "--engine.device", "cpu"],
            "GPUs only",
            id="invariant on CPU",
        ),
        pytest.param(["--model", "m", "--benchmarks", "math", "math:x"], "more than once", id="twice"),
        pytest.param(["--model", "m", "--benchmarks", "My Set"], "NAME or NAME:PATH", id="bad name"),
        pytest.param(["--model", "m", "--benchmarks", "math:"], "NAME or NAME:PATH", id="no path"),
        pytest.param(
            ["--model", "m", "--grader", "strict"], "grader must be 'fixed' or 'paper'", id="grader"
        ),
        pytest.param(["--model", "m", "--limit", "0"], "limit must be greater", id="limit"),
        pytest.param(["--model", "m", "--max-new-tokens.math", "0"], "max_new_tokens.math", id="no token"),
        pytest.param(
            ["--model", "m", "--benchmarks", "gsm8k", "--max-new-tokens.gsm8", "9"],
            "max_new_tokens.gsm8 is of no benchmark of this evaluation; allowed are gsm8k and all",
            id="a limit for no benchmark",
        ),
        pytest.param(["--model", "m", "--replica", "2"], "did you mean --replicas", id="misspelt"),
    ],
)
def test_a_bad_option_is_one_clear_line(argv, message):
    with pytest.raises(BadOptionsError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argv", [["--regrade"], ["--compare", "a", "b"]], ids=" ".join)
def test_saved_predictions_need_no_model(argv):
    assert parse(*argv).model == ""


def test_every_option_is_explained():
    for name, field in EvaluationOptions.model_fields.items():
        assert field.description or name in ("engine", "endpoint"), name
