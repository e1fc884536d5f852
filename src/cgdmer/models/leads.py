# SPDX-License-Identifier: Apache-2.0
"""The twelve standard leads: their order, their spellings, and the limb leads that two others determine."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .advice import CHOOSE_LEADS, NAME_CHANNELS
from .errors import ECGInputError

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Names are compared in upper case, without spaces, dots, hyphens, and underscores, and without one of these prefixes.
# Not listed:
# - modified leads such as "MLII", whose electrodes are elsewhere;
# - bare numbers ("1", "ECG 2"): Holter files count channels that way, wherever the electrodes are;
# - names with a sign: "-aVR" is inverted (the Cabrera order), and "I-II" is a difference.
# "C3" is a chest lead in a set of six, and an electrode on the scalp next to others of an EEG.
_PREFIXES = ("LEAD", "ECGLEAD", "EKGLEAD", "ECG", "EKG")
_ALIASES = {
    **{name.upper(): name for name in STANDARD_LEADS},
    **{f"{prefix}{number}": "I" * number for prefix in ("LEAD", "L", "D") for number in (1, 2, 3)},
    **{f"{prefix}{name}": name for prefix in ("L", "D") for name in ("I", "II", "III")},
    **{f"V{letter}": f"aV{letter}" for letter in "RLF"},
    **{f"C{number}": f"V{number}" for number in range(1, 7)},
}

_CHEST_OR_SCALP = re.compile(r"[Cc][ ._-]*[1-6][ ._-]*$")
# Electrodes of the 10-20 system and its refinements, references, and channels of a sleep laboratory.
_SCALP = re.compile(
    r"\bEEG|\bEOG|\b(?:FP|AF|F|FC|FT|T|TP|CP|P|PO|O|A|M)[ ._-]?(?:Z|[1-9]|10)\b|\b(?:C|FC|CP)Z\b", re.IGNORECASE
)
_SIGN = re.compile(r"\s*[-\u2212]|.*[-\u2212]\s*$", re.DOTALL)

# Einthoven: I + III = II. Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2. Any two limb leads determine
# all six. Each lead here is a combination a*I + b*II.
LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}


@lru_cache(maxsize=1024)
def known_spelling(name: str) -> str | None:
    """The standard spelling of a lead name (`"aVF"` for `"avf"` or `"Lead AVF"`); None for any other channel."""
    parts = re.split("[ ._-]+", name.upper())
    if _SIGN.match(name) or sum(part in _ALIASES for part in parts) > 1:
        return None
    squeezed = "".join(parts)
    candidates = (squeezed, *(squeezed.removeprefix(prefix) for prefix in _PREFIXES))
    return next((_ALIASES[candidate] for candidate in candidates if candidate in _ALIASES), None)


def inverted(name: str) -> bool:
    """Whether a name has a sign in front or behind: "-aVR" is inverted, and EDF+ writes "ECG -aVR"."""
    return bool(_SIGN.match(name) or re.search(r"\s[-\u2212](?=\S)", name))


def standard_lead_names(names: Sequence[str], *, asked_for: bool = False) -> list[str]:
    """Standard spellings of several lead names, in the given order.

    Args:
        names: of the channels of a recording; with `asked_for`, of the leads that a user wants, among which "C3" is V3
            whatever else is wanted.

    Raises:
        ECGInputError: a name is unknown, two names mean the same lead, or `refuse_scalp_electrodes` finds one.
    """
    names, standard = list(names), []
    for name in names:
        lead = known_spelling(str(name))
        if lead is None:
            what = f"{str(name)!r} is not one of the twelve standard leads ({', '.join(STANDARD_LEADS)})"
            if asked_for:
                raise ECGInputError(f"leads has a name that is none: {what}.")
            raise ECGInputError(
                f"lead name {what}. Rename it: {NAME_CHANNELS}; an inverted lead only after you invert its signal. Or "
                f"leave that channel out: {CHOOSE_LEADS}."
            )
        standard.append(lead)
    if not asked_for:
        refuse_scalp_electrodes(names)
    for name in standard:
        if standard.count(name) > 1:
            spellings = [given for given, meant in zip(names, standard, strict=True) if meant == name]
            raise ECGInputError(f"lead {name} is given more than once, as {spellings}. Keep one of them.")
    return standard


def refuse_scalp_electrodes(names: Sequence[str], rows: Sequence[int] | None = None) -> None:
    """C1 to C6 are chest leads if all six are there, a limb lead too, and no other electrode of an EEG.

    Args:
        names: of all channels of a recording.
        rows: the channels that are used; None: all of them.

    Raises:
        ECGInputError: one of C1 to C6 is used, and may be on the scalp.
    """
    names = [str(name) for name in names]
    chest = [row for row, name in enumerate(names) if _CHEST_OR_SCALP.search(name) and known_spelling(name)]
    if not (used := [row for row in chest if rows is None or row in rows]):
        return
    leads = {known_spelling(name) for name in names}
    scalp = [name for name in names if _SCALP.search(name)]
    if len(chest) == 6 and LIMB_LEADS.keys() & leads and not scalp:
        return
    name, lead = names[used[0]], known_spelling(names[used[0]])
    reason = f"there is {scalp[0]!r}" if scalp else "C1 to C6 and a limb lead are not all there"
    raise ECGInputError(
        f"{name!r} may be lead {lead} or an electrode on the scalp: {reason}. If it is lead {lead}, call it {lead}: "
        f"{NAME_CHANNELS}. Otherwise leave it out: {CHOOSE_LEADS}."
    )


def derive_limb_leads(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the absent limb leads from two that are present.

    Args:
        signal: (12, time) in the order of `STANDARD_LEADS`; rows of absent leads are ignored.
        present: (12,) bool, which rows hold a recorded lead.

    Returns:
        New arrays: the signal with the derived rows filled in, and the updated `present`. With fewer than two limb
        leads, or with all six, they are plain copies.
    """
    signal, present = signal.copy(), present.copy()
    recorded = [row for row, name in enumerate(STANDARD_LEADS) if name in LIMB_LEADS and present[row]]
    if len(recorded) < 2 or len(recorded) == len(LIMB_LEADS):
        return signal, present
    first, second = recorded[:2]
    mixing = np.array([LIMB_LEADS[STANDARD_LEADS[first]], LIMB_LEADS[STANDARD_LEADS[second]]])
    lead_i_and_ii = np.linalg.solve(mixing, signal[[first, second]].astype(np.float64))
    for row, name in enumerate(STANDARD_LEADS):
        if name in LIMB_LEADS and not present[row]:
            signal[row] = np.asarray(LIMB_LEADS[name]) @ lead_i_and_ii
            present[row] = True
    return signal, present


def contradiction(signal: np.ndarray, present: np.ndarray) -> float:
    """How far the recorded limb leads are from what I and II say about them.

    Args:
        signal, present: as in `derive_limb_leads`.

    Returns:
        The largest deviation (standard deviation over time) of a lead from its combination of I and II, relative to
        the standard deviation of the largest limb lead. 0 without I, II, and a third limb lead. At most 0.06 in 4,200
        real recordings from five corpora.
    """
    limb = [row for row, name in enumerate(STANDARD_LEADS) if name in LIMB_LEADS and present[row]]
    if not present[[0, 1]].all() or len(limb) < 3 or not signal.shape[1]:
        return 0.0
    centered = signal[limb] - signal[limb].mean(axis=1, keepdims=True)
    expected = np.array([LIMB_LEADS[STANDARD_LEADS[row]] for row in limb]) @ centered[:2]
    return float((centered - expected).std(axis=1).max() / max(centered.std(axis=1).max(), 1e-9))
