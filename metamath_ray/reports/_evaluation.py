"""The pages of an evaluation and of a comparison: one HTML file each that needs nothing else."""

from pathlib import Path
from typing import Any

from metamath_ray.reports._evaluation_items import PromptTemplates, load_flips, load_wrong_answers
from metamath_ray.reports._evaluation_run import (
    EVALUATION_VERDICTS,
    RULE_SETS,
    ComparisonDocument,
    Evaluation,
    EvaluationVerdict,
    RuleSet,
    load_evaluation,
    read_document,
)
from metamath_ray.reports._figures import p_value, signed_points
from metamath_ray.reports._page import content_hash, join_templates, make_environment
from metamath_ray.reports._samples import embed_json
from metamath_ray.reports._shown_options import shown_options
from metamath_ray.run_folder import write_whole

VERDICT_LABELS: dict[EvaluationVerdict, str] = {
    "correct": "correct",
    "incorrect": "incorrect",
    "no_answer": "no answer",
    "truncated": "truncated",
    "unknown": "unknown",
    "failed": "failed",
}

VERDICT_MEANINGS: dict[EvaluationVerdict, str] = {
    "correct": "the extracted answer equals the expected one",
    "incorrect": "an answer was extracted, and it is another",
    "no_answer": "the completion ended without a final answer",
    "truncated": "the completion was cut at the token limit before a final answer",
    "unknown": "the symbolic comparison ran out of time or memory; never counted as correct",
    "failed": "the engine refused the request, for example because the prompt is too long",
}

RULE_MEANINGS = {
    "fixed": "the answer in any usual spelling, compared as text, as a number, and symbolically",
    "paper": "what follows the last “The answer is: ”, compared as the paper's own script does, quirks included",
}


def write_evaluation_report(output: Path) -> Path:
    """Write `report.html` into an evaluation's output folder and return its path.

    Needs `summary.json` and `predictions/`, and shows the options where there is a `config.yaml`; the same
    files give the same bytes. Raises `BadReportInputError` where one is missing or can't be read.
    """
    evaluation = load_evaluation(output)
    templates = PromptTemplates()
    items, num_wrong = load_wrong_answers(evaluation, templates)
    page = _render(
        "evaluation.html.j2",
        {"items": items, "templates": templates.texts, "grader": evaluation.summary.grader, "sides": 1},
        summary=evaluation.summary,
        num_shown=len(items),
        num_wrong=num_wrong,
        options=_shown(evaluation),
    )
    return write_whole(output / "report.html", page)


def write_comparison_report(a: Path, b: Path, *, output: Path, grader: RuleSet) -> Path:
    """Write `comparison.html` into `output`, where `comparison.json` of the two evaluations lies; gives its path.

    The flipped items are those under the rules of `grader`. Raises `BadReportInputError` as above.
    """
    document = read_document(output / "comparison.json", ComparisonDocument)
    first, second = load_evaluation(a), load_evaluation(b)
    templates = PromptTemplates()
    items, num_flips = load_flips(document, a, b, rules=grader, templates=templates)
    page = _render(
        "evaluation_comparison.html.j2",
        {"items": items, "templates": templates.texts, "grader": grader, "sides": 2},
        comparison=document,
        a=first,
        b=second,
        names=_names(first, second),
        grader=grader,
        num_shown=len(items),
        num_flips=num_flips,
    )
    return write_whole(output / "comparison.html", page)


def _render(template: str, data: dict[str, Any], **values: Any) -> str:
    environment = make_environment()
    environment.filters |= {"signed": signed_points, "p_value": p_value, "sentence": _sentence}
    script = join_templates("browser.js", "evaluation.js")
    return environment.get_template(template).render(
        style=join_templates("report.css", "evaluation.css"),
        script=script,
        script_hash=content_hash(script),
        data_json=embed_json(data | {"labels": VERDICT_LABELS}),
        verdicts=EVALUATION_VERDICTS,
        labels=VERDICT_LABELS,
        meanings=VERDICT_MEANINGS,
        rule_sets=RULE_SETS,
        rule_meanings=RULE_MEANINGS,
        **values,
    )


def _names(a: Evaluation, b: Evaluation) -> tuple[str, str]:
    """What to call the two: by their models, and by their folders too where the model is the same."""
    one, other = a.summary.model_name, b.summary.model_name
    if one != other:
        return one, other
    return f"{one} in {a.folder.name}", f"{other} in {b.folder.name}"


def _shown(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Model, engine and graders as the summary names them, then every option; no secret."""
    summary = evaluation.summary
    made_by = {"model": summary.model, "engine": summary.engine, "graders": summary.graders}
    return shown_options({"evaluated": made_by, "option": evaluation.config})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
