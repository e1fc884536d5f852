# SPDX-License-Identifier: Apache-2.0
"""Files that a model's folder may have."""

import os
from typing import Any

from transformers.utils import cached_file


def optional_file(model: str | os.PathLike[str], name: str, **download: Any) -> str | None:
    """The path of a file in a model's folder or on the Hub; None if there is none, or the Hub cannot be reached.

    Args:
        download: `revision`, `token`, and the like, as in `from_pretrained`.
    """
    path: str | None = cached_file(
        os.fspath(model),
        name,
        **download,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return path
