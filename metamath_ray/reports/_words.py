"""What the page and the card say of verdicts, types and reasons for dropping, in words."""

from metamath_ray.reports._run import Verdict

VERDICT_LABELS: dict[Verdict, str] = {
    "correct": "correct",
    "incorrect": "incorrect",
    "no_answer": "no answer",
    "truncated": "truncated",
    "failed": "failed",
}

VERDICT_MEANINGS: dict[Verdict, str] = {
    "correct": "the extracted answer equals the expected one",
    "incorrect": "an answer was extracted, and it is another",
    "no_answer": "no final answer could be found in the reply",
    "truncated": "the reply was cut at the token limit",
    "failed": "no usable reply: refused, filtered or empty",
}

DROP_LABELS = {
    "contaminated": "contaminated",
    "exact_duplicate": "exact duplicate",
    "near_duplicate_question": "near-duplicate question",
    "near_duplicate_path": "near-duplicate path",
    "over_target": "over target",
}

DROP_MEANINGS = {
    "contaminated": "The question, or the seed's, shares 13 words in a row with a benchmark that was given.",
    "exact_duplicate": "The same question and reasoning path, once case, blanks and punctuation are set aside.",
    "near_duplicate_question": "A rephrasing that all but repeats its seed or another rephrasing of it.",
    "near_duplicate_path": "A reasoning path that all but repeats another of the same question.",
    "over_target": "The type has the rows that were asked for; which rows stay is a seeded draw.",
}

AUGMENTATION_MEANINGS = {
    "AnsAug": "answer augmentation: the seed's own question, answered anew",
    "Rephrased": "rephrasing: the seed's question in the teacher's words; the seed's answer is expected",
    "SV": "self-verification: one number masked, the answer given as a statement; "
    "the masked number is expected",
    "FOBAR": "FOBAR: one number masked, the answer given at the end; the masked number is expected",
}


def describe_type(kind: str) -> str:
    """What a released type such as `GSM_SV` is, in one line; empty for one that is not known."""
    return AUGMENTATION_MEANINGS.get(kind.rsplit("_", 1)[-1], "")
