"""A student of about 50,000 random weights, made on the spot: what training tests fine-tune."""

from pathlib import Path

SENTENCES = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "### Instruction:\nTom has 3 apples and buys 12 more. How many apples does he have?\n\n### Response:",
    "He has 3 + 12 = 15 apples.\nThe answer is: 15",
    "A train goes 60 miles in 1.5 hours. How fast does it go?\n60 / 1.5 = 40 miles per hour.\n#### 40",
    "Let's think step by step. Half of 48 is 24, and 24 + 48 = 72 clips. The answer is: 72",
    "0123456789 + - * / = $ % ( ) \\frac{1}{2} \\boxed{7}",
)
"""What the tiny tokenizer learns its merges from; any other text falls back on bytes."""

EOS, PAD = "<|end|>", "<|pad|>"


def save_tiny_student(folder: Path) -> Path:
    """A Hugging Face folder: Llama with random weights, tied embeddings, a byte-level BPE of its own.

    No beginning-of-sequence token is added, like SmolLM2's and Qwen's tokenizers; eos and pad differ.
    """
    vocab_size, eos, pad = _save_tokenizer(folder)
    _save_model(folder, vocab_size, eos, pad)
    return folder


def _save_tokenizer(folder: Path) -> tuple[int, int, int]:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(SENTENCES * 4, vocab_size=384, special_tokens=[EOS, PAD], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=EOS, pad_token=PAD)
    tokenizer.save_pretrained(folder)
    return len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id


def _save_model(folder: Path, vocab_size: int, eos: int, pad: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        attention_dropout=0.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
        initializer_range=0.2,  # so that logits differ visibly between inputs
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
