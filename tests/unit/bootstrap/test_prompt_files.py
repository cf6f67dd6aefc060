import pickle
from pathlib import Path

import pytest

from metamath_ray.bootstrap._prompts import Prompt, load_prompts

OURS = load_prompts()
TINY = "Do it.\n\n=== user\nWhat is 1 + 1?\n\n=== assistant\n2\n\n=== user\nAnd 2 + 2?\n=== assistant\n4\n"


def write(folder: Path, text: str | bytes, name: str = "gsm/solve.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def roles(prompt: Prompt, shots: int | None) -> list[str]:
    return [message["role"] for message in prompt.messages("And 3 + 3?", shots=shots)]


def test_a_users_file_replaces_ours_and_the_others_stay(tmp_path):
    prompts = load_prompts(write(tmp_path, TINY))
    assert prompts.get("gsm", "solve").messages("And 3 + 3?") == [
        {"role": "system", "content": "Do it."},
        {"role": "user", "content": "What is 1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 + 3?"},
    ]
    assert prompts.get("math", "solve") == OURS.get("math", "solve")
    assert prompts.sha256 != OURS.sha256


@pytest.mark.parametrize(("shots", "pairs"), [(None, 2), (0, 0), (1, 1), (2, 2), (9, 2)])
def test_shots_take_the_first_exemplars(tmp_path, shots, pairs):
    prompt = load_prompts(write(tmp_path, TINY)).get("gsm", "solve")
    assert roles(prompt, shots) == ["system", *["user", "assistant"] * pairs, "user"]


def test_negative_shots_are_refused():
    with pytest.raises(ValueError, match="shots must be at least 0, got -1"):
        OURS.get("gsm", "solve").messages("What is 1 + 1?", shots=-1)


def test_bare_text_is_an_instruction_without_exemplars(tmp_path):
    prompt = load_prompts(write(tmp_path, "Solve it.\n\nShow the steps.\n")).get("gsm", "solve")
    assert prompt.instruction == "Solve it.\n\nShow the steps."
    assert prompt.exemplars == ()


@pytest.mark.parametrize(
    "text",
    [TINY.replace("\n", "\r\n"), "\ufeff" + TINY, TINY + "\n\n", TINY.replace("=== user", "=== user  ")],
    ids=["windows-line-ends", "byte-order-mark", "blank-lines-at-the-end", "spaces-after-a-marker"],
)
def test_the_hash_sees_only_what_the_teacher_sees(tmp_path, text):
    plain = load_prompts(write(tmp_path / "plain", TINY))
    other = load_prompts(write(tmp_path / "other", text))
    assert other.sha256 == plain.sha256


def test_the_hash_tells_order_and_place_of_turns(tmp_path):
    swapped = TINY.replace("=== user", "=== U").replace("1 + 1", "2 + 2", 1)
    texts = [TINY, swapped.replace("=== U", "=== user"), TINY.replace("Do it.", "Do it!")]
    hashes = [load_prompts(write(tmp_path / str(i), text)).sha256 for i, text in enumerate(texts)]
    other_step = load_prompts(write(tmp_path / "step", TINY, "gsm/solve_fobar.txt")).sha256
    assert len({*hashes, other_step}) == 4


def test_prompts_travel_to_workers_unchanged():
    assert OURS.sha256 == load_prompts().sha256
    assert pickle.loads(pickle.dumps(OURS)) == OURS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"solve\.txt:1: the instruction is empty"),
        ("=== user\na\n=== assistant\nb", r"solve\.txt:1: the instruction is empty"),
        ("Do.\n=== system\na", r"solve\.txt:2: '=== system' must be '=== user' or '=== assistant'"),
        ("Do.\n===user\na", r"solve\.txt:2: '===user' must be"),
        ("Do.\n=== assistant\nb", r"solve\.txt:2: '=== user' must come here, got '=== assistant'"),
        ("Do.\n=== user\na\n=== user\nb", r"solve\.txt:4: '=== assistant' must come here, got '=== user'"),
        ("Do.\n=== user\na\n=== assistant\n\n", r"solve\.txt:4: the turn that begins here is empty"),
        ("Do.\n=== user\na\n", r"solve\.txt:2: this '=== user' has no '=== assistant' after it"),
        (b"Do.\nIt\xff", r"solve\.txt:2: byte 0xff is not UTF-8"),
    ],
    ids=[
        "empty-file",
        "no-instruction",
        "unknown-role",
        "no-space",
        "assistant-first",
        "user-twice",
        "empty-turn",
        "no-reply",
        "not-utf-8",
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(write(tmp_path, text))


@pytest.mark.parametrize("name", ["solve.txt", "gsm/solv.txt", "gsm8k/solve.txt"])
def test_a_file_of_another_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} is not the name of a prompt: allowed are gsm/solve\.txt"):
        load_prompts(write(tmp_path, TINY, name))


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"prompts must be a folder, got .*nowhere"):
        load_prompts(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no prompt file: allowed are"):
        load_prompts(tmp_path)
