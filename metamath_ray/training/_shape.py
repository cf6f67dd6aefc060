"""What a model's architecture says without its weights: how many parameters, and where they are."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
_NAMES = {
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "intermediate",
    "vocab_size": "vocab",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder of the Llama family: RMS norms, grouped-query attention, a gated MLP, no dropout.

    `head_size` 0 stands for hidden / heads; `tied` shares the embedding with the output layer; `qkv_bias` is
    Qwen 2's, `qk_norm` Qwen 3's.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    tied: bool = False
    head_size: int = 0
    qkv_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING and value < 1:
                raise ValueError(f"model.{field.name} must be at least 1, got {value}")

    @classmethod
    def from_config(cls, path: Path) -> "ModelShape":
        """The shape in a Hugging Face `config.json`, or in the folder that holds one.

        Raises `ValueError` for another family of models (`llama`, `mistral`, `qwen2`, `qwen3` are known) or a file
        that lacks a figure, `OSError` where there is no file.
        """
        file = path / "config.json" if path.is_dir() else path
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is no JSON: {error}") from None
        return cls.from_values(config, name=str(file))

    @classmethod
    def from_values(cls, config: dict[str, Any], *, name: str) -> "ModelShape":
        """The shape in the values of a `config.json`; `name` is what an error calls them."""
        kind = config.get("model_type")
        if kind not in _KNOWN:
            raise ValueError(
                f"{name}: model_type must be one of {', '.join(_KNOWN)} to be estimated, got {kind!r}"
            )
        config = {"num_key_value_heads": config.get("num_attention_heads")} | config
        if missing := [key for key in _NAMES if not isinstance(config.get(key), int)]:
            raise ValueError(f"{name} lacks {', '.join(missing)}")
        figures = {ours: config[theirs] for theirs, ours in _NAMES.items()}
        return cls(
            **figures,
            tied=bool(config.get("tie_word_embeddings", False)),
            head_size=config.get("head_dim") or 0,
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
        )

    @property
    def head_width(self) -> int:
        """Numbers of one attention head."""
        return self.head_size or self.hidden // self.heads

    @property
    def attention_width(self) -> int:
        """Numbers of all query heads of a token."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Numbers of all key heads of a token, and of all value heads."""
        return self.kv_heads * self.head_width

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's seven matrices: q, k, v, o, gate, up, down."""
        attention, kv = self.attention_width, self.kv_width
        return (
            (self.hidden, attention),
            (self.hidden, kv),
            (self.hidden, kv),
            (attention, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )

    @property
    def layer_matrix_weights(self) -> int:
        """Weights in a layer's seven matrices."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def layer_weights(self) -> int:
        """All weights of a layer."""
        biases = self.qkv_bias * (self.attention_width + 2 * self.kv_width)
        return self.layer_matrix_weights + 2 * self.hidden + biases + self.qk_norm * 2 * self.head_width

    @property
    def embedding_weights(self) -> int:
        """Weights of the embedding, and of the output layer."""
        return self.vocab * self.hidden

    @property
    def num_parameters(self) -> int:
        """Weights of the whole model, a tied embedding once."""
        return (
            self.layers * self.layer_weights + self.hidden + self.embedding_weights * (1 if self.tied else 2)
        )

    def num_adapter_weights(self, rank: int) -> int:
        """Weights of a LoRA adapter of `rank` on all matrices of all layers."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.matrices)
