# SPDX-License-Identifier: Apache-2.0
"""The corpora by name."""

from typing import Any

from cgdmer.corpora.corpus import Corpus
from cgdmer.corpora.cpsc2018 import CPSC2018
from cgdmer.corpora.csn import CSN
from cgdmer.corpora.mimic_iv_ecg import MIMIC_IV_ECG
from cgdmer.corpora.ptbxl import PTBXL
from cgdmer.corpora.wfdb_folder import WFDB_FOLDER
from cgdmer.models.errors import CorpusError
from cgdmer.models.units import HIGHEST_RATE, LOWEST_RATE

CORPORA: dict[str, Corpus] = {
    corpus.source.name: corpus for corpus in (MIMIC_IV_ECG, PTBXL, CPSC2018, CSN, WFDB_FOLDER)
}


def checked_options(name: str, options: dict[str, Any]) -> tuple[Corpus, dict[str, Any]]:
    """The corpus and all of its options, with defaults filled in. Raises a CorpusError if one does not exist."""
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; known are {', '.join(CORPORA)}.")
    corpus = CORPORA[name]
    for option in options:
        if option not in corpus.options:
            raise CorpusError(f"{name} has no option {option}; it takes {', '.join(corpus.options)}.")
    options = {**corpus.options, **options}
    rate = options["sampling_rate"]
    if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise CorpusError(f"sampling_rate is {rate}; it must be from {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz.")
    return corpus, options
