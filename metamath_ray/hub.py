"""What was made here, on the Hugging Face hub, under its card: a build's rows or a trained model."""

import os
import re
from pathlib import Path
from typing import Literal

Kind = Literal["dataset", "model"]

TOKEN = "HF_TOKEN"  # noqa: S105  # its name, not the token
"""The environment variable with the hub's token; it is read from nowhere else."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILES: dict[Kind, list[str]] = {
    # no config.yaml and no report.html: they name folders and addresses of the machine that built it
    "dataset": ["README.md", "MetaMathQA.json", "summary.json", "dataset/*.parquet"],
    "model": ["*"],
}


def check_push(repo: str | None) -> None:
    """Raise `ValueError` where a push to `repo` can't work; None asks for no push. Asks nothing of the hub."""
    if repo is None:
        return
    if not _REPO.fullmatch(repo):
        raise ValueError(f"push_to_hub must be OWNER/NAME, got {repo!r}")
    if not os.environ.get(TOKEN):
        raise ValueError(
            f"push_to_hub {repo} needs a token with write access in the environment variable {TOKEN}"
        )


def push_folder(folder: Path, repo: str, *, kind: Kind) -> str:
    """Upload a finished folder in one commit, and give the repository's address.

    A repository that is not there is made, as a private one. Of a build only the rows and their card go out: no
    replies, no options. Raises `OSError` where the hub refuses or can't be reached; the folder is as it was.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(token=os.environ[TOKEN], library_name="metamath_ray")
    try:
        url = api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            allow_patterns=_FILES[kind],
            ignore_patterns=[".*"],
            commit_message="Upload with metamath_ray",
        )
    except (HfHubHTTPError, httpx.HTTPError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise OSError(
            f"{folder} could not be pushed to {repo}: {reason}; run the same command again"
        ) from None
    return str(url)
