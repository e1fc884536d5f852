# SPDX-License-Identifier: Apache-2.0
"""Pushes a model's folder to the Hugging Face Hub in one commit: weights, code, card, and results, or nothing."""

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
from cgdmer.hub.contents import CARD, left_out, paths_of_training, pushed_files, refuse_patients, refuse_places
from cgdmer.hub.results import read_results, write_benchmark_results
from cgdmer.hub.staging import stage_model
from cgdmer.models.errors import PublishingError
from cgdmer.presets import model_source

# Files of an earlier push that would be wrong beside the new weights; the commit deletes those it does not write.
# transformers would read the processor of a former model with a text tower for one without. Pickled weights would be
# loaded by anyone who does not refuse them.
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
    dry_run: bool = False,
) -> dict[str, Any]:
    """Publish a model's folder, with a card filled in from its training and evaluation.

    Only what belongs on the Hub is copied, and the copy is loaded before anything is sent. Nothing that is copied may
    name a folder or the host of this machine, or a patient that the model was trained on, as far as that is known.

    Args:
        model: the folder, or the name of a model of the package.
        repo_id: "org/name"; created if it does not exist.
        results: folders that `cgdmer evaluate --output_dir` wrote.
        benchmark: the Hub id of a dataset that lists the tasks of the results, see `cgdmer.hub.results`.
        license: of the weights, as the Hub abbreviates it ("cc-by-4.0"); None: the card says that it is not stated.
        private: whether a new repository is private; an existing one keeps its visibility.
        revision: a branch, created from main if it does not exist; None: main.
        commit_message: the commit's first line.
        dry_run: do everything but send: the Hub is not asked, and no token is needed.

    Returns:
        `repository` (its address), `commit` (its hash), `commit_url`, `revision`, and `files`, the paths pushed. With
        `dry_run` there is no commit, and `repository` is its id. Also `contents`, a `PushedFile` for each file, and
        `left_out`, the files and folders beside the model that stay, each with the reason.

    Raises:
        ModelFolderError: the folder holds pickles, patients as earlier versions recorded them, or files of an unknown
            kind; it does not load; or a file names a place or a patient.
        CorpusError: the results cannot be read.
        PublishingError: the Hub cannot be reached, or refuses.
    """
    source = Path(model_source(model))
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary)
        stage_model(source, staged)
        found = read_results(results)
        fill_card(source, repo_id, found, license).save(staged / CARD)
        if benchmark is not None:
            write_benchmark_results(staged, benchmark, found)
        refuse_places(staged, source, *results, *paths_of_training(source))
        refuse_patients(staged, source)
        contents = pushed_files(staged, own_card=(source / CARD).is_file())
        described = {"contents": contents, "left_out": left_out(source, staged)}
        if dry_run:
            files = [file["path"] for file in contents]
            return {"repository": repo_id, "revision": revision or "main", "files": files, **described}
        pushed = commit_folder(staged, repo_id, private=private, revision=revision, commit_message=commit_message)
        return pushed | described


def commit_folder(
    folder: Path, repo_id: str, *, private: bool = False, revision: str | None = None, commit_message: str
) -> dict[str, Any]:
    """Make a repository hold the files of a folder, in one commit; see `push` for the arguments and the return value.

    Raises:
        PublishingError: the Hub cannot be reached, or refuses. The repository is unchanged, or, if the connection
            broke after the commit was sent, complete.
    """
    with _explained(repo_id):
        api = HfApi(library_name="cgdmer")
        api.whoami()  # says clearly that a token is missing or wrong; later errors do not
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        there = api.list_repo_files(repo_id, revision=revision)
        stale = [path for path in there if path not in files and _REPLACED.fullmatch(path)]
        # Not `upload_folder`: it may make several commits, and its delete patterns also match files in subfolders.
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
    """Turns errors of the Hub into a PublishingError that says what to do."""
    try:
        yield
    except (HTTPError, OSError, HFValidationError, RuntimeError, ValueError) as error:
        raise PublishingError(f"{repo_id} was not pushed: {_advice(repo_id, error)}") from error


def _advice(repo_id: str, error: BaseException) -> str:
    if isinstance(error, LocalTokenNotFoundError):
        return (
            f"there is no token. Create one with write permission at {_TOKEN_PAGE} and run `hf auth login`, or set "
            "HF_TOKEN."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set. Unset it to push."
    if isinstance(error, HFValidationError):
        return f"{error}. Name it as organization/name or user/name."
    if isinstance(error, HfHubHTTPError):
        return _advice_on_answer(repo_id, error)
    if isinstance(error, HTTPError):
        return (
            f"the Hub cannot be reached, or the connection broke ({type(error).__name__}: {error}). Check the network "
            "(and HF_ENDPOINT, if it is set) and push again: the repository is complete, and files already sent are "
            "not sent again."
        )
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # huggingface_hub wraps errors of uploads
        return f"{error} {_advice(repo_id, error.__cause__)}"
    return str(error)


def _advice_on_answer(repo_id: str, error: HfHubHTTPError) -> str:
    status, namespace = error.response.status_code, repo_id.split("/")[0]
    if status == 401:
        return (
            f"the Hub does not know the token. Create a new one at {_TOKEN_PAGE} and run `hf auth login`; if HF_TOKEN "
            "is set, it takes precedence."
        )
    if status == 403:
        return (
            f"the token may not write to {namespace}. Use one with write permission ({_TOKEN_PAGE}), and your own "
            "namespace or that of an organization you belong to."
        )
    if status >= 500:
        return f"the Hub failed ({status}). Push again later: the repository is complete."
    return f"the Hub refused ({status}). {error}"
