# SPDX-License-Identifier: Apache-2.0
"""Pushes a model's folder to the Hugging Face Hub, as one commit: weights, code, card and results, or nothing."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from cgdmer.hub.cards import fill_card
from cgdmer.hub.results import read_results, write_benchmark_results
from cgdmer.hub.staging import refuse_local_paths, stage_model
from cgdmer.models.errors import PublishingError

# Of an earlier push, and wrong beside other weights: deleted in the same commit unless it is written anew. Where a
# model with texts was before one without, transformers would go on reading the processor of the former. Pickled
# weights are loaded by whoever does not refuse them.
_REPLACED = re.compile(
    r"[^/]+\.(safetensors|safetensors\.index\.json|py|bin|bin\.index\.json|ckpt|pt|pth)"
    r"|(processor|preprocessor|tokenizer|generation)_config\.json"
    r"|(tokenizer|special_tokens_map|added_tokens|vocab|training_summary)\.json|(vocab|merges)\.txt"
    r"|(tokenizer|spiece|sentencepiece\.bpe)\.model|chat_template\.(jinja|json)"
    r"|\.eval_results/[^/]+\.yaml"
)
_TOKEN_PAGE = "https://huggingface.co/settings/tokens"


def push(
    model: str | os.PathLike[str],
    repo_id: str,
    *,
    results: Sequence[str | os.PathLike[str]] = (),
    benchmark: str | None = None,
    license: str | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Upload model",
) -> dict[str, Any]:
    """Publish a model's folder, with a card that is filled in from what its training and evaluation left.

    The folder is copied without what does not belong on the Hub and loaded from the copy before anything is sent.

    Args:
        model: the folder.
        repo_id: "org/name"; made if it is not there.
        results: folders that `cgdmer evaluate --output_dir` wrote.
        benchmark: the Hub id of the dataset that lists the tasks of the results as a benchmark, see `results`.
        license: of the weights, as the Hub abbreviates it ("cc-by-4.0"); None: the card says that it is not stated.
        private: of a repository that is made; one that is there stays as visible as it is.
        revision: a branch, made from main if it is not there; None: main.
        commit_message: the commit's first line.

    Returns:
        `repository` (its address), `commit` (its hash), `commit_url`, `revision` and `files`, the paths pushed.

    Raises:
        ModelFolderError: the folder holds pickles or does not load, or a file names a path of this machine.
        CorpusError: the results cannot be read.
        PublishingError: the Hub cannot be reached, or refuses.
    """
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary)
        stage_model(model, staged)
        found = read_results(results)
        fill_card(model, repo_id, found, license).save(staged / "README.md")
        if benchmark is not None:
            write_benchmark_results(staged, benchmark, found)
        refuse_local_paths(staged, model, *results)
        return commit_folder(staged, repo_id, private=private, revision=revision, commit_message=commit_message)


def commit_folder(
    folder: Path, repo_id: str, *, private: bool = False, revision: str | None = None, commit_message: str
) -> dict[str, Any]:
    """Make a repository hold what a folder holds, in one commit; see `push` for the arguments and what it returns.

    Raises:
        PublishingError: the Hub cannot be reached, or refuses. The repository is as it was, or, where the connection
            broke after the commit was sent, whole.
    """
    with _explained(repo_id):
        api = HfApi(library_name="cgdmer")
        api.whoami()  # a token that is missing or wrong is said to be so; later errors are less plain
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        there = api.list_repo_files(repo_id, revision=revision)
        stale = [path for path in there if path not in files and _REPLACED.fullmatch(path)]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=folder / path) for path in files),
            *(CommitOperationDelete(path_in_repo=path) for path in stale),
        ]
        commit = api.create_commit(repo_id, operations, commit_message=commit_message, revision=revision)
    return {
        "repository": str(url),
        "commit": commit.oid,
        "commit_url": commit.commit_url,
        "revision": revision or "main",
        "files": files,
    }


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """What goes wrong with the Hub as a PublishingError that says what to do."""
    try:
        yield
    except (HTTPError, OSError, HFValidationError, RuntimeError, ValueError) as error:
        raise PublishingError(f"{repo_id} was not pushed: {_advice(repo_id, error)}") from error


def _advice(repo_id: str, error: BaseException) -> str:
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token. Make one that may write at {_TOKEN_PAGE} and run `hf auth login`, or set HF_TOKEN."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set. Unset it to push."
    if isinstance(error, HFValidationError):
        return f"{error}. Name it as organisation/name or user/name."
    if isinstance(error, HfHubHTTPError):
        return _advice_on_answer(repo_id, error)
    if isinstance(error, HTTPError):
        return (
            f"the Hub cannot be reached, or the connection broke ({type(error).__name__}: {error}). Check the network "
            "(and HF_ENDPOINT, if it is set) and push again: what is there is whole, and what was sent is not sent "
            "twice."
        )
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # of huggingface_hub, around an upload
        return f"{error} {_advice(repo_id, error.__cause__)}"
    return str(error)


def _advice_on_answer(repo_id: str, error: HfHubHTTPError) -> str:
    status, namespace = error.response.status_code, repo_id.split("/")[0]
    if status == 401:
        return (
            f"the Hub does not know the token. Make a new one at {_TOKEN_PAGE} and run `hf auth login`; HF_TOKEN, if "
            "it is set, is used before the stored one."
        )
    if status == 403:
        return (
            f"the token may not write to {namespace}. Use one with write permission ({_TOKEN_PAGE}), and a namespace "
            "that is yours or of an organisation you belong to."
        )
    if status >= 500:
        return f"the Hub failed ({status}). Push again later: what is there is whole."
    return f"the Hub refused ({status}). {error}"
