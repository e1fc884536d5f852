# SPDX-License-Identifier: Apache-2.0
"""The corpora by name."""

from cgdmer.data.corpus import Corpus
from cgdmer.data.ptbxl import PTBXL

CORPORA: dict[str, Corpus] = {corpus.source.name: corpus for corpus in (PTBXL,)}

__all__ = ["CORPORA"]
