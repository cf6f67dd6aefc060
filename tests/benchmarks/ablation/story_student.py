"""A student from scratch: a small Llama that has read arithmetic and stories, and never an equation with an unknown."""

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stories import StoryProblem, draw_problems

from metamath_ray.student_prompt import render_evaluation_prompt

EOS, PAD = "<|end|>", "<|pad|>"
_LINES = 8
_LARGEST = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """The student's size and what it reads.

    `arithmetic` is the share of texts that are lines of it; the others are worked stories, each in the first `wordings` of
    its wordings alone.
    """

    hidden: int = 128
    layers: int = 4
    vocab: int = 1024
    steps: int = 3500
    sequences: int = 8
    length: int = 192
    learning_rate: float = 4e-3
    arithmetic: float = 0.4
    wordings: int = 2


def read_texts(reading: Reading, *, seed: str, unseen: frozenset[tuple[Any, ...]]) -> Iterator[str]:
    """Texts without end; no story of them has the numbers of one of `unseen` (`StoryProblem.key`)."""
    chance = random.Random(seed)
    problems = _read_problems(seed, unseen)
    while True:
        if chance.random() < reading.arithmetic:
            yield "\n".join(_calculation(chance) for _ in range(_LINES))
            continue
        problem, wording = next(problems), chance.randrange(reading.wordings)
        steps = problem.told_steps(problem.calculations())
        yield f"{problem.question(wording)}\n{steps}\n{problem.statement(wording)}"


def _read_problems(seed: str, unseen: frozenset[tuple[Any, ...]]) -> Iterator[StoryProblem]:
    for part in itertools.count():  # some stories have few numbers: each part may use them all again
        drawn = itertools.islice(draw_problems(f"{seed}/{part}"), 600)
        yield from (problem for problem in drawn if problem.key not in unseen)


def _calculation(chance: random.Random) -> str:
    sign = chance.choice("+-*/")
    if sign in "+-":
        first = chance.randint(2, _LARGEST - 2)
        second = chance.randint(1, _LARGEST - first)
        result = first + second
    else:
        first = chance.randint(2, _LARGEST // 3)
        second = chance.randint(2, max(_LARGEST // first, 2))
        first, second = chance.sample([first, second], 2)
        result = first * second
    return f"{first} {sign} {second} = {result}" if sign in "+*" else f"{result} {sign} {first} = {second}"


def save_student(folder: Path, reading: Reading, *, seed: str, unseen: frozenset[tuple[Any, ...]]) -> None:
    """Make the tokenizer, read, and write a Hugging Face folder."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    texts = read_texts(reading, seed=seed, unseen=unseen)
    tokenizer = make_tokenizer(
        [*itertools.islice(texts, 2000), *[render_evaluation_prompt("")] * 20], reading
    )
    torch.manual_seed(0)
    model = _make_model(reading, tokenizer)
    print(f"student: {sum(one.numel() for one in model.parameters()):,} weights", flush=True)
    _read(model, tokenizer, texts, reading)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def make_tokenizer(texts: list[str], reading: Reading) -> Any:
    """A byte-level BPE in which each digit stands alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), by_bytes])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=reading.vocab,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, pad_token=PAD)


def _make_model(reading: Reading, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = reading.hidden // 32
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=reading.hidden,
        intermediate_size=reading.hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=reading.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _read(model: Any, tokenizer: Any, texts: Iterator[str], reading: Reading) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=reading.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, reading.learning_rate, total_steps=reading.steps, pct_start=0.05
    )
    waiting: list[int] = []
    size, started = reading.sequences * reading.length, time.monotonic()
    for step in range(reading.steps):
        while len(waiting) < size:
            waiting += [*tokenizer.encode(next(texts)), tokenizer.eos_token_id]
        ids = torch.tensor(waiting[:size]).view(reading.sequences, reading.length)
        del waiting[:size]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == reading.steps - 1:
            print(
                f"reading: step {step}, loss {loss.item():.3f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
