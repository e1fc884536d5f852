# SPDX-License-Identifier: Apache-2.0
"""The corpora by name. Each is imported when it is used, because the shell's help lists their names."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from cgdmer.models.errors import CorpusError
from cgdmer.models.units import HIGHEST_RATE, LOWEST_RATE

if TYPE_CHECKING:
    from cgdmer.corpora.corpus import Corpus

CORPORA = {
    "mimic-iv-ecg": "cgdmer.corpora.mimic_iv_ecg:MIMIC_IV_ECG",
    "ptb-xl": "cgdmer.corpora.ptbxl:PTBXL",
    "cpsc2018": "cgdmer.corpora.cpsc2018:CPSC2018",
    "csn": "cgdmer.corpora.csn:CSN",
    "folder": "cgdmer.corpora.folder:FOLDER",
    "wfdb-folder": "cgdmer.corpora.folder:FOLDER",  # its former name
}


def get_corpus(name: str) -> "Corpus":
    """A corpus by its name. Raises a CorpusError if there is none."""
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; known are {', '.join(CORPORA)}.")
    corpus: Corpus = resolve_name(CORPORA[name])
    return corpus


def checked_options(name: str, options: dict[str, Any]) -> tuple["Corpus", dict[str, Any]]:
    """The corpus and all of its options, with defaults filled in. Raises a CorpusError if one does not exist."""
    corpus = get_corpus(name)
    for option in options:
        if option not in corpus.options:
            raise CorpusError(f"{name} has no option {option}; it takes {', '.join(corpus.options)}.")
    options = {**corpus.options, **options}
    rate = options["sampling_rate"]
    if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise CorpusError(f"sampling_rate is {rate}; it must be from {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz.")
    return corpus, options
