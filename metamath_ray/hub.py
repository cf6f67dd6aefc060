"""The Hugging Face hub: whether it has a model, and what was made here put on it, under its card."""

import os
import re
from pathlib import Path
from typing import Literal

Kind = Literal["dataset", "model"]

TOKEN = "HF_TOKEN"  # noqa: S105  # its name, not the token
"""The environment variable with the hub's token; it is read from nowhere else."""

_TIMEOUT_S = 20.0
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_FILES: dict[Kind, list[str]] = {
    # no config.yaml and no report.html: they name folders and addresses of the machine that built it
    "dataset": ["README.md", "MetaMathQA.json", "summary.json", "dataset/*.parquet"],
    "model": ["*"],
}


def check_hub_model(model: str) -> bool:
    """Whether the model, which is no folder, is in the hub's cache; False: the hub has it.

    One look, without the hub library's retries. Raises `ValueError` where neither is so.
    """
    missing = f"model {model!r}: there is no such folder"
    if not _REPO.fullmatch(model):
        raise ValueError(missing)
    import httpx
    from huggingface_hub import get_token, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return True
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise ValueError(f"{missing}, it is not in the hub's cache, and HF_HUB_OFFLINE is set")
    headers = {"authorization": f"Bearer {token}"} if (token := get_token()) else {}
    try:
        url = hf_hub_url(model, "config.json")
        answer = httpx.head(url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ValueError(f"{missing}, and the hub can't be reached: {error}") from None
    if not answer.is_success:
        raise ValueError(f"{missing}, and the hub does not give it ({answer.status_code})")
    return False


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
