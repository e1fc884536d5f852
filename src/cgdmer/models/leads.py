# SPDX-License-Identifier: Apache-2.0
"""The twelve standard leads: their order, the spellings they come in, and the four that two others determine."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .errors import ECGInputError

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Every spelling is compared in upper case with spaces, dots, hyphens and underscores removed, and with one of these
# prefixes taken off. "MLII" and the like are modified leads with other electrode positions: not the same, not listed.
# A bare number ("1", "ECG 2") is no name either: in Holter files it counts channels, wherever their electrodes are.
# A sign turns a lead over ("-aVR" in the order of Cabrera), and between two leads it is a difference ("I-II").
# "C3" is a lead of the chest beside limb leads, and a place on the scalp beside other channels of an EEG.
_PREFIXES = ("LEAD", "ECGLEAD", "EKGLEAD", "ECG", "EKG")
_ALIASES = {
    **{name.upper(): name for name in STANDARD_LEADS},
    "LEAD1": "I",
    "LEAD2": "II",
    "LEAD3": "III",
    "L1": "I",
    "L2": "II",
    "L3": "III",
    "LI": "I",
    "LII": "II",
    "LIII": "III",
    "DI": "I",
    "DII": "II",
    "DIII": "III",
    "D1": "I",
    "D2": "II",
    "D3": "III",
    "VR": "aVR",
    "VL": "aVL",
    "VF": "aVF",
    **{f"C{number}": f"V{number}" for number in range(1, 7)},
}

# Where the converter is coarse, all leads can stand still between two beats.
_SHORTEST_STILL_SECONDS = 1.0
_SAMPLES_AT_ONCE = 200  # most recordings move at once, so that their ends alone need be looked at

_CHEST_OR_SCALP = re.compile(r"[Cc][ ._-]*[1-6][ ._-]*$")
_SIGN = re.compile(r"\s*[-\u2212]|.*[-\u2212]\s*$", re.DOTALL)

# Einthoven: I + III = II. Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2. Any two limb leads fix all
# six: each lead as a combination a*I + b*II.
_LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}


def standard_lead_name(name: str) -> str:
    """The standard spelling of a lead name (`"avf"`, `"Lead AVF"`, `"aVF"` -> `"aVF"`).

    Raises:
        ECGInputError: the name is not one of the twelve standard leads.
    """
    standard = known_spelling(str(name))
    if standard is not None:
        return standard
    raise ECGInputError(
        f"lead name {name!r} is not one of the twelve standard leads ({', '.join(STANDARD_LEADS)}). "
        "Rename it (a lead that is turned over only after turning its signal back), or leave that channel out by "
        "naming those to use (of a file: read_record(path, leads=[...]), --leads)."
    )


@lru_cache(maxsize=1024)
def known_spelling(name: str) -> str | None:
    """The standard spelling of a lead name; None for any other channel's name."""
    parts = re.split("[ ._-]+", name.upper())
    if _SIGN.match(name) or sum(part in _ALIASES for part in parts) > 1:
        return None
    squeezed = "".join(character for character in name.upper() if character not in " .-_")
    candidates = [squeezed] + [squeezed.removeprefix(prefix) for prefix in _PREFIXES if squeezed.startswith(prefix)]
    return next((_ALIASES[candidate] for candidate in candidates if candidate in _ALIASES), None)


def standard_lead_names(names: Sequence[str]) -> list[str]:
    """Standard spellings of several lead names, in the order given.

    Raises:
        ECGInputError: a name is unknown, or two names mean the same lead; or it is one of C1 to C6, as electrodes of
            an EEG are called, and there is no limb lead beside it.
    """
    names = list(names)
    standard = [standard_lead_name(name) for name in names]
    refuse_places_on_the_scalp(names)
    for name in standard:
        if standard.count(name) > 1:
            spellings = [given for given, meant in zip(names, standard, strict=True) if meant == name]
            raise ECGInputError(f"lead {name} is given more than once, as {spellings}. Keep one of them.")
    return standard


def refuse_places_on_the_scalp(names: Sequence[str]) -> None:
    """C1 to C6 are leads of the chest where a limb lead is among the names, and else may be electrodes of an EEG.

    Raises:
        ECGInputError: one of them is there, and no limb lead.
    """
    meant = [known_spelling(str(name)) for name in names]
    if _LIMB_LEADS.keys() & set(meant):
        return
    for name, lead in zip(names, meant, strict=True):
        if lead is not None and _CHEST_OR_SCALP.search(str(name)):
            raise ECGInputError(
                f"{name!r} may be the lead {lead}, or a place on the scalp: there is no limb lead beside it. Rename "
                f"it to {lead} if it is that."
            )


def recorded_span(signal: np.ndarray, sampling_rate: float) -> tuple[int, int]:
    """Where a recording begins and ends: without ends that were filled up to a fixed length.

    At such ends every lead is missing (NaN), or all leads stand still for a second or more: corpora such as CODE-15%
    put zeros there, which a model takes for a heart that does not beat.

    Args:
        signal: (leads, time).
        sampling_rate: samples a second.

    Returns:
        The first sample and the one after the last; all of the signal when nothing in it moves.
    """
    first = _missing_samples(signal)
    if first == signal.shape[1]:
        return 0, first
    last = signal.shape[1] - _missing_samples(signal[:, ::-1])
    before, after = _still_samples(signal[:, first:last]), _still_samples(signal[:, first:last][:, ::-1])
    if before + after < last - first:  # something moves in between
        shortest = _SHORTEST_STILL_SECONDS * sampling_rate
        first += before if before >= shortest else 0
        last -= after if after >= shortest else 0
    return first, last


def _missing_samples(signal: np.ndarray) -> int:
    """How many samples there are before any lead has one."""
    for start in range(0, signal.shape[1], _SAMPLES_AT_ONCE):
        there = ~np.isnan(signal[:, start : start + _SAMPLES_AT_ONCE]).all(axis=0)
        if there.any():
            return start + int(there.argmax())
    return signal.shape[1]


def _still_samples(signal: np.ndarray) -> int:
    """For how many samples each lead keeps the first value that it has, or is missing."""
    kept = np.full((len(signal), 1), np.nan)
    for start in range(0, signal.shape[1], _SAMPLES_AT_ONCE):
        part = signal[:, start : start + _SAMPLES_AT_ONCE]
        there = ~np.isnan(part)
        first_there = np.take_along_axis(part, there.argmax(axis=1)[:, None], axis=1)
        kept = np.where(np.isnan(kept), first_there, kept)
        moving = ((part != kept) & there).any(axis=0)
        if moving.any():
            return start + int(moving.argmax())
    return signal.shape[1]


def derive_limb_leads(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill in the limb leads that two present limb leads determine.

    Args:
        signal: (12, time) in the order of `STANDARD_LEADS`; rows of absent leads are ignored.
        present: (12,) bool, which rows hold a recorded lead.

    Returns:
        The signal with derived rows written and the enlarged `present`, both new arrays. With fewer than two limb
        leads, or all six, there is nothing to derive and copies come back unchanged.
    """
    signal, present = signal.copy(), present.copy()
    recorded = [row for row, name in enumerate(STANDARD_LEADS) if name in _LIMB_LEADS and present[row]]
    if len(recorded) < 2 or len(recorded) == len(_LIMB_LEADS):
        return signal, present
    first, second = recorded[:2]
    mixing = np.array([_LIMB_LEADS[STANDARD_LEADS[first]], _LIMB_LEADS[STANDARD_LEADS[second]]])
    lead_i_and_ii = np.linalg.solve(mixing, signal[[first, second]].astype(np.float64))
    for row, name in enumerate(STANDARD_LEADS):
        if name in _LIMB_LEADS and not present[row]:
            signal[row] = np.asarray(_LIMB_LEADS[name]) @ lead_i_and_ii
            present[row] = True
    return signal, present


def contradiction(signal: np.ndarray, present: np.ndarray) -> float:
    """How far the recorded limb leads are from what I and II say of them.

    Args:
        signal, present: as in `derive_limb_leads`.

    Returns:
        The largest deviation (standard deviation over time) between a lead and its combination of I and II, as a share
        of the largest limb lead's own. 0 without I, without II, or without any other limb lead. At most 0.06 in 4,200
        real recordings of five corpora.
    """
    limb = [row for row, name in enumerate(STANDARD_LEADS) if name in _LIMB_LEADS and present[row]]
    if not present[[0, 1]].all() or len(limb) < 3 or not signal.shape[1]:
        return 0.0
    centred = signal[limb] - signal[limb].mean(axis=1, keepdims=True)
    expected = np.array([_LIMB_LEADS[STANDARD_LEADS[row]] for row in limb]) @ centred[:2]
    return float((centred - expected).std(axis=1).max() / max(centred.std(axis=1).max(), 1e-9))
