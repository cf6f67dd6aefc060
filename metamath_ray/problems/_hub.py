"""GSM8K, MATH and GSM8K-Backward from the Hugging Face hub, for users who have `datasets` installed."""

from metamath_ray.problems._files import Row

GSM8K_HUB_ID = "openai/gsm8k"
MATH_HUB_ID = "EleutherAI/hendrycks_math"
GSM8K_BACKWARD_HUB_ID = "meta-math/GSM8K_Backward"
_CONFIGS = {
    "gsm8k": (GSM8K_HUB_ID, ("main",)),
    "gsm8k_backward": (GSM8K_BACKWARD_HUB_ID, ("default",)),
    "math": (
        MATH_HUB_ID,
        (
            "algebra",
            "counting_and_probability",
            "geometry",
            "intermediate_algebra",
            "number_theory",
            "prealgebra",
            "precalculus",
        ),
    ),
}


def read_hub_rows(name: str, *, split: str) -> tuple[str, list[Row]]:
    """The hub id of `gsm8k`, `math` or `gsm8k_backward`, and the rows of its configurations one after another.

    Raises `ModuleNotFoundError` with the pip line where `datasets` is missing, and `ValueError`
    with a way out where the hub does not give the set.
    """
    try:
        from datasets.load import load_dataset
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"problem set {name!r} from the hub needs datasets: pip install 'metamath-ray[hub]'; "
            f"or give a file: {name}:PATH"
        ) from None
    hub_id, configs = _CONFIGS[name]
    try:
        tables = [load_dataset(hub_id, config, split=split) for config in configs]
    except (OSError, ValueError) as error:  # no network, offline mode, set or split not there
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"cannot load {hub_id} from the hub: {reason}; or give a file: {name}:PATH"
        ) from None
    records = [dict(record) for table in tables for record in table]
    return hub_id, [Row(number + 1, number, record) for number, record in enumerate(records)]
