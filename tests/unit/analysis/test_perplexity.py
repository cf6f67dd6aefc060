import json
import math

import pyarrow.parquet as pq
import pytest
from model_double import plain_log_probs

from metamath_ray.analysis import (
    AnalysisOptions,
    BadEndpointError,
    EndpointFailedError,
    plan_analysis,
    run_analyses,
)
from metamath_ray.dataset_rows import read_dataset_rows
from metamath_ray.student_prompt import render_student_prompt


@pytest.fixture
def options_for(tmp_path, data_file, tiny_model):
    def options(language_model=None, *, base="", **perplexity):
        return AnalysisOptions(
            analyses=("perplexity",),
            data=str(data_file),
            base=base,
            language_model=language_model or f"model:{tiny_model}",
            perplexity=perplexity,
            output=tmp_path / "out",
        )

    return options


def run(options):
    summary = run_analyses(plan_analysis(options))
    return json.loads(summary.read_text())["perplexity"], pq.read_table(
        summary.parent / "perplexity.parquet"
    ).to_pylist()


def plain_scores(path, folder, *, prompt=render_student_prompt):
    """Sums of -log p and counts for each row, by transformers alone, one row at a time."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in read_dataset_rows(str(path)):
        before = prompt(row.query)
        encoded = tokenizer(before + row.response, return_offsets_mapping=True)
        num_response = sum(start >= len(before) for start, _ in encoded.offset_mapping)
        log_probs = plain_log_probs(folder, encoded.input_ids)
        yield row.row_id, -sum(log_probs[-num_response:]), num_response, -sum(log_probs), len(log_probs)


@pytest.mark.parametrize("batch_tokens", [1, 400, 4096], ids=["row-by-row", "small-batches", "large-batches"])
def test_each_row_equals_plain_transformers_to_1e_4(options_for, data_file, tiny_model, batch_tokens):
    _, rows = run(options_for(batch_tokens=batch_tokens))
    wanted = {row_id: scores for row_id, *scores in plain_scores(data_file, tiny_model)}
    assert [row["row_id"] for row in rows] == list(wanted), "in the data's order"
    for row in rows:
        response_nll, response_tokens, text_nll, text_tokens = wanted[row["row_id"]]
        assert (row["response_tokens"], row["text_tokens"]) == (response_tokens, text_tokens)
        assert math.isclose(
            row["response_perplexity"], math.exp(response_nll / response_tokens), rel_tol=1e-4
        )
        assert math.isclose(row["text_perplexity"], math.exp(text_nll / text_tokens), rel_tol=1e-4)


def test_a_group_is_weighted_by_tokens_and_comes_by_set_and_type(
    options_for, data_file, base_file, tiny_model
):
    result, _ = run(options_for(base=str(base_file), prompt="plain"))
    assert [(group["set"], group["type"]) for group in result["groups"]] == [
        ("data", ""), ("data", "GSM_AnsAug"), ("data", "GSM_FOBAR"), ("data", "GSM_Rephrased"),
        ("base", ""), ("base", "GSM_AnsAug"),
    ]  # fmt: skip
    scores = list(plain_scores(data_file, tiny_model, prompt=lambda query: f"{query}\n"))
    wanted = math.exp(sum(nll for _, nll, *_ in scores) / sum(tokens for _, _, tokens, *_ in scores))
    assert result["groups"][0]["response"]["perplexity"] == pytest.approx(wanted, rel=1e-4)
    interval = result["groups"][0]["response"]["interval"]
    assert interval["low"] < wanted < interval["high"]


def test_rows_that_are_too_long_are_left_out_and_counted(options_for):
    lengths = sorted(row["text_tokens"] + 1 for row in run(options_for())[1])
    options = options_for(max_length=lengths[9]).model_copy(update={"output": options_for().output / "b"})
    result, rows = run(options)
    assert len(rows) == sum(length <= lengths[9] for length in lengths)
    assert result["num_too_long"] == 40 - len(rows)


def test_an_endpoint_that_echoes_log_probs_gives_what_the_model_gives(
    options_for, endpoint, tiny_model, data_file
):
    endpoint.scoring_model = tiny_model
    place = f"endpoint:{endpoint.base_url}"
    _, rows = run(options_for(place, model="m", tokenizer=str(tiny_model)))
    wanted = [scores[1] / scores[2] for scores in plain_scores(data_file, tiny_model)]
    assert [row["response_nll"] / row["response_tokens"] for row in rows] == pytest.approx(wanted, rel=1e-4)


def test_an_endpoint_without_log_probs_is_refused_before_anything_runs(
    options_for, endpoint, tiny_model, tmp_path
):
    endpoint.scoring_model, endpoint.no_log_probs = tiny_model, True
    with pytest.raises(BadEndpointError, match="echoes no log-probabilities of the prompt"):
        plan_analysis(options_for(f"endpoint:{endpoint.base_url}", model="m", tokenizer=str(tiny_model)))
    assert not (tmp_path / "out").exists()


def test_an_endpoint_that_fails_on_the_way_ends_the_run(options_for, endpoint, tiny_model):
    endpoint.scoring_model = tiny_model
    place = f"endpoint:{endpoint.base_url}"
    plan = plan_analysis(options_for(place, model="m", tokenizer=str(tiny_model), max_retries=0))
    endpoint.statuses = [200, 500]
    with pytest.raises(EndpointFailedError, match="answers 500"):
        run_analyses(plan)


def test_a_token_belongs_to_the_response_if_it_begins_there(tiny_model):
    from transformers import AutoTokenizer

    from metamath_ray.analysis._scorers import encode_pair

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for prompt, response in [
        ("Response:", "He has 3"),
        ("Response", ": 15 apples"),
        ("x\n", " é 😀"),
        ("", "72"),
    ]:
        encoded = encode_pair(tokenizer, prompt, response)
        tail = tokenizer.decode(encoded.ids[-encoded.response_tokens :])
        assert response.endswith(tail)


def test_a_folder_without_weights_is_named_before_anything_runs(options_for, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no \*\.safetensors"):
        plan_analysis(options_for(f"model:{folder}"))
