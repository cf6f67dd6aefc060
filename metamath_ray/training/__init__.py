"""Training: packed rows, a DeepSpeed loop on Ray Train with exact resume, export to a Hugging Face folder."""

from metamath_ray.training._options import TrainOptions

__all__ = ["TrainOptions"]
