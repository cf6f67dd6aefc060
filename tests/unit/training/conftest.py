import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The machine is shared, and sums come out the same."""
    import torch

    torch.set_num_threads(1)
