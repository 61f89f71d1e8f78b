"""The Hugging Face Hub: download and upload. The only file that connects to the Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .files import ALLOWED, RegistryError

ADVICE = (
    (GatedRepoError, "Ask for access on its page, then log in (`hf auth login`)."),
    (RevisionNotFoundError, "The repository has no such revision: check what follows the @."),
    (RepositoryNotFoundError, "Check the name (hf-hub:org/name); for a private repository log in (`hf auth login`)."),
    (OfflineModeIsEnabled, "Unset HF_HUB_OFFLINE."),
    (HfHubHTTPError, "Log in with a token that may do this (`hf auth login`)."),
    (Exception, "Check the network and HF_ENDPOINT, or use a local directory."),
)


def download(name: str) -> Path:
    """Download a Hub repository into the Hub's cache, or find it there.

    `snapshot_download` asks once for the commit of the revision and takes every file from that commit.

    Args:
        name: `hf-hub:org/name[@revision]`.

    Raises:
        RegistryError: If the Hub refuses or cannot be reached.
    """
    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    with advice(f"pull {name}"):
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(ALLOWED)))


def upload(stage: Path, repo: str, overwrite: bool) -> str:
    """Upload a staged checkpoint to the Hub, in one commit; returns its address.

    Raises:
        FileExistsError: If the repository holds a model and overwrite is False.
        RegistryError: If the Hub refuses or cannot be reached.
    """
    if constants.ENDPOINT.rstrip("/") != "https://huggingface.co":
        constants.HF_HUB_DISABLE_XET = True  # another Hub server cannot ask for plain uploads, the client must offer
    api = HfApi()
    with advice(f"publish to hf-hub:{repo}"):
        taken = not overwrite and api.file_exists(repo, "model.safetensors")
    if taken:
        raise FileExistsError(f"hf-hub:{repo} already holds a model. Replace it: overwrite=True (--overwrite true).")
    with advice(f"publish to hf-hub:{repo}"):
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=stage,
            allow_patterns=list(ALLOWED),
            delete_patterns=list(ALLOWED),  # of an older version: the manifest does not list them
            commit_message="Publish with snnzoo",
        )
    return str(commit.commit_url)


@contextmanager
def advice(action: str) -> Iterator[None]:
    """Turn any error of the Hub's client into a `RegistryError` that says what to do about it."""
    try:
        yield
    except Exception as error:  # HTTP, connection and transfer errors of several libraries, without a common base
        todo = next(text for kind, text in ADVICE if isinstance(error, kind))
        raise RegistryError(f"Could not {action}: {type(error).__name__}: {error}. {todo}") from error
