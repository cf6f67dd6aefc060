import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder with the published benchmark files; users have none of it."""
    folder = Path(os.environ.get("METAMATH_RAY_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "gsm8k_train.jsonl").is_file():
        pytest.skip("the published benchmark files are not here (METAMATH_RAY_DATA)")
    return folder
