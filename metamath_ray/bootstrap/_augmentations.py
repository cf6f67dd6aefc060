"""The four augmentations, one builder a row of PAPER's table, and what is taken from a teacher's reply.

answer augmentation   the seed's own question
rephrasing            `clean_rephrasing` of the teacher's rephrasing
self-verification     `self_verification_question`, its statement from `declarative_request`
FOBAR                 `fobar_question`
"""

import re
import unicodedata

from metamath_ray.problems import Style

from ._clause import split_clause_paper, split_last_sentence, strip_answer_format
from ._latex import find_figures
from ._mask import Compat, Mask, apply_mask
from ._number_words import NUMBER_WORD, parse_number_words

_LABEL = re.compile(
    r"(?:\A|(?<=\n))[\s>*_#\-]*"
    r"(?:(?:here\s+is|here's|sure)[^\n:]{0,80}|(?:the\s+)?(?:re-?phrased|re-?written|re-?worded|new|declarative)"
    r"(?:\s+(?:question|problem|version|sentence|statement))?"
    r"|(?:question|problem|statement|declarative|rephras(?:e|ing)|output|result|answer)(?:\s+\d+)?)"
    r"\s*[*_]*\s*:[*_\s]*",
    re.IGNORECASE,
)
_SOLVES = re.compile(
    r"####|\\boxed|the\s+(?:final\s+)?answer\s+is|(?:\A|\n)[\s*_#]*(?:answer|solution|explanation|response|a|steps?)\b"
    r"\s*\d*[*_]*\s*:|let['’]?s\s+think\s+step|step\s+1\s*:",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\A\s*(?:i['’]m\s+sorry|i\s+am\s+sorry|as\s+an\s+ai|i\s+cannot|i\s+can['’]t)\b", re.IGNORECASE
)
_ECHOES = re.compile(
    r"(?:so,?\s+|thus,?\s+)?(?:the\s+)?(?:final\s+)?answer\b|(?:how|what|which|find)\b", re.IGNORECASE
)
_STATEMENT_WORDS = 3
_COMMANDS = re.compile(
    r"\b(?:find|compute|determine|calculate|evaluate|simplify|solve|factor|expand|convert|express|prove|show"
    r"|identify|what|how|which)\b",
    re.IGNORECASE,
)


def fobar_question(question: str, mask: Mask, answer: str) -> str:
    """Give the FOBAR question: the masked seed, its answer, and what to find."""
    return (
        f"{apply_mask(question, mask)}\nIf we know the answer to the above question is {answer}, "
        f"what is the value of unknown variable {mask.variable}?"
    )


def declarative_request(question: str, answer: str, *, style: Style, compat: Compat = "fixed") -> str:
    """Give what the teacher is to turn into a statement: the asking sentence and the answer, a line each."""
    if compat == "paper":
        asked = split_clause_paper(question)[1].strip()
    else:
        asked = strip_answer_format(split_last_sentence(question, style=style)[1], style=style)
    return f"Question: {asked}\nAnswer: {answer}"


def masks_for_self_verification(
    question: str, masks: list[Mask], *, style: Style, compat: Compat = "fixed"
) -> list[Mask]:
    """Give the masks that lie in the context: those of the last sentence would vanish with it.

    So too in paper mode, where the context ends at the last "." or ",": its clause is often empty (the
    whole question is context then, and the teacher is given no question to rewrite), or cut inside a
    number. Such questions are asked as they come out; only a mask cut in two or behind the cut is left
    out, whose question would not hold the variable it asks for.
    """
    context = _context(question, style=style, compat=compat)
    return [mask for mask in masks if mask.end <= len(context)]


def self_verification_question(
    question: str, mask: Mask, statement: str, *, style: Style, compat: Compat = "fixed"
) -> str:
    """Give the self-verification question: masked context, the statement with the answer, what to find.

    A figure behind the last sentence stays, behind the context. Raises ValueError where the mask is
    not in the context.
    """
    context = _context(question, style=style, compat=compat)
    if mask.end > len(context):
        raise ValueError(
            f"the mask must end in the context, by position {len(context)}, got {mask.start} to {mask.end}"
        )
    masked = apply_mask(question, mask)[
        : len(context) + len(mask.variable + mask.suffix) - (mask.end - mask.start)
    ]
    tail = question[len(context) :]
    figures = [] if compat == "paper" else [tail[start:end] for start, end in find_figures(tail)]
    told = " ".join([masked.rstrip(), statement.strip()]).strip()
    asked = f"What is the value of unknown variable {mask.variable}?"
    return "\n".join([told, *figures, asked]) if figures else f"{told} {asked}"


def clean_statement(reply: str, *, answer: str, compat: Compat = "fixed") -> str | None:
    """Give the one declarative statement of a teacher's reply, labels and quotes removed; a point ends it.

    None where it is empty, a question, several paragraphs or a refusal, or where it does not hold
    the answer (as digits, with or without separators, or in words). The paper's code looks at none of
    this: in paper mode the reply is taken as it is, and only an empty one is None.
    """
    if compat == "paper":
        return reply.strip() or None
    statement = _strip_reply(reply)
    if not statement or "\n" in statement or "?" in statement or _REFUSES.match(statement):
        return None
    if re.search(r"####|\\boxed|unknown variable", statement) or not _holds(statement, answer):
        return None
    if _ECHOES.match(statement) or len(statement.split()) < _STATEMENT_WORDS:
        return None
    return statement if statement.endswith((".", "!", ".$", "\\]")) else statement + "."


def clean_rephrasing(reply: str, *, original: str, compat: Compat = "fixed") -> str | None:
    """Give the rephrased question of a teacher's reply, labels and quotes removed.

    None where it is empty, a refusal, solves the problem, asks nothing, holds several labelled
    questions, or is the original but for case, blanks and punctuation. In paper mode only an empty
    reply is None, as in `clean_statement`.
    """
    if compat == "paper":
        return reply.strip() or None
    question = _strip_reply(reply)
    if _LABEL.search(question) or _SOLVES.search(question):
        return None
    if not question or _REFUSES.match(question) or _normalise(question) == _normalise(original):
        return None
    return question if "?" in question or _COMMANDS.search(question) else None


def _context(question: str, *, style: Style, compat: Compat) -> str:
    return (
        split_clause_paper(question)[0]
        if compat == "paper"
        else split_last_sentence(question, style=style)[0]
    )


def _strip_reply(reply: str) -> str:
    text = re.sub(r"\A```\w*\n|\n?```\Z", "", reply.strip())
    while label := _LABEL.match(text):
        text = text[label.end() :]
    text = re.sub(r"\A\*\*(.*)\*\*\Z", r"\1", text.strip(), flags=re.DOTALL)
    if len(text) > 1 and text[0] + text[-1] in {'""', "''", "“”"} and text.count(text[0]) <= 2:
        text = text[1:-1]
    return text.strip()


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s.,;:!?'\"’“”]+", " ", folded).strip()


def _holds(statement: str, answer: str) -> bool:
    plain, wanted = (
        re.sub(r"(?<=\d)(?:,|\{,\}|\\!|,\\!)(?=\d{3})|[\s$]", "", text)
        for text in (_spaced(statement), answer)
    )
    number = re.sub(r"\.0+\Z", "", wanted)
    if re.search(rf"(?<![\d./-]){re.escape(number)}(?:\.0+)?(?!\d|\.\d)", plain):
        return True
    return any(str(parse_number_words(m.group())) == number for m in NUMBER_WORD.finditer(statement))


def _spaced(statement: str) -> str:
    return re.sub(r"(?<=\d)\s+(?=\d)", "|", statement)
