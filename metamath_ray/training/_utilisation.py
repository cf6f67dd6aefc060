"""Model FLOPs utilisation: the share of the GPUs' peak that the model's own arithmetic takes."""

from dataclasses import dataclass

import numpy as np

from metamath_ray.training._flops import flops_per_step, peak_flops
from metamath_ray.training._model import load_config
from metamath_ray.training._options import TrainOptions
from metamath_ray.training._packed import PackedData
from metamath_ray.training._shape import ModelShape

_SAMPLED_PACKS = 1000


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Works out the MFU of steps on devices of one kind."""

    options: TrainOptions
    shape: ModelShape
    document_length: float
    peak: float

    @classmethod
    def make(cls, options: TrainOptions, data: PackedData, device_name: str) -> "Utilisation | None":
        """None where the device's peak, or the model's family, is not known."""
        peak = peak_flops(device_name)
        if peak is None:
            return None
        try:
            shape = ModelShape.from_values(load_config(options.model).to_dict(), name=options.model)
        except ValueError:
            return None
        return cls(options, shape, _mean_length_over_tokens(data), peak)

    def share(self, *, tokens: int, response_tokens: int, seconds: float) -> float:
        """The MFU (0 to 1) of a step over `tokens` real tokens."""
        flops = flops_per_step(
            self.options,
            self.shape,
            tokens=tokens,
            response_tokens=response_tokens,
            document_length=self.document_length,
        )
        return flops / (seconds * self.options.num_workers * self.peak)


def _mean_length_over_tokens(data: PackedData) -> float:
    lengths = np.concatenate([data[i].lengths for i in range(min(len(data), _SAMPLED_PACKS))]).astype(float)
    return float((lengths**2).sum() / lengths.sum())
