# SPDX-License-Identifier: Apache-2.0
"""The channels of a recording: what the user calls them, and which are needed for the leads that are asked for."""

from collections.abc import Mapping, Sequence

from .advice import NAME_CHANNELS
from .errors import ECGInputError, shown
from .leads import LIMB_LEADS, STANDARD_LEADS, inverted, known_spelling, refuse_scalp_electrodes, standard_lead_names

LeadNames = Mapping[str, str] | Sequence[str]


def renamed_channels(names: Sequence[str | None], lead_names: LeadNames | None, who: str) -> list[str]:
    """The names of channels, with those that the user states in place.

    Args:
        names: as the file has them; None where it has none.
        lead_names: which leads channels are: `{"ECG": "II"}`, `["ECG=II"]`, or one name per channel.
        who: the recording, for messages.

    Raises:
        ECGInputError: a name is not one of the twelve leads; there is no such channel, or several; the number of names
            is not that of the channels; a channel is inverted, or a name from a list contradicts its own.
    """
    given = [str(name).strip() if name is not None else "" for name in names]
    if lead_names is None:
        return given
    stated = _by_channel(given, lead_names, who)
    for row, lead in stated.items():
        if inverted(given[row]):
            raise ECGInputError(
                f"{who}: channel {shown(given[row])} is inverted, so it is not lead {lead}. Invert its signal first."
            )
    return [stated.get(row, name) for row, name in enumerate(given)]


def _by_channel(given: list[str], lead_names: LeadNames, who: str) -> dict[int, str]:
    """The lead of each channel (by its row) that the user names."""
    if isinstance(lead_names, str) or not all(isinstance(name, str) for name in lead_names) or not lead_names:
        raise ECGInputError(
            f'lead_names is {shown(lead_names)}; expected names, such as ["I", "II"], or channels with the leads that '
            'they are, such as {"ECG": "II"}.'
        )
    if not isinstance(lead_names, Mapping):
        if not any("=" in name for name in lead_names):
            return _in_order(given, lead_names, who)
        pairs = [name.rpartition("=") for name in lead_names]
        if not all(mark for _, mark, _ in pairs):
            raise ECGInputError(f"lead_names is {shown(lead_names)}; write each as CHANNEL=LEAD, or all in order.")
        lead_names = {channel: lead for channel, _, lead in pairs}
    stated: dict[int, str] = {}
    for channel, lead in lead_names.items():
        rows = [row for row, name in enumerate(given) if name == channel.strip()]
        rows = rows or [row for row, name in enumerate(given) if name.lower() == channel.strip().lower()]
        if len(rows) != 1:
            raise ECGInputError(
                f"{who} has {len(rows)} channels {shown(channel)}; it has {', '.join(map(shown, given))}. Name one."
            )
        stated[rows[0]] = _lead(lead)
    return stated


def _in_order(given: list[str], lead_names: Sequence[str], who: str) -> dict[int, str]:
    if len(lead_names) != len(given):
        raise ECGInputError(
            f"{who} has {len(given)} channels ({', '.join(map(shown, given))}), but {len(lead_names)} are named. Name "
            "each of them in order, or only those that need it: ECG=II."
        )
    for own, name in zip(given, lead_names, strict=True):
        if known_spelling(own) not in (None, _lead(name)):
            raise ECGInputError(
                f"{who} names its leads {', '.join(given)}, not {', '.join(lead_names)}. If {shown(own)} is wrong, "
                f"say so: {own}={name}."
            )
    return {row: _lead(name) for row, name in enumerate(lead_names)}


def _lead(name: str) -> str:
    lead = known_spelling(str(name))
    if lead is None:
        raise ECGInputError(
            f"lead_names has {shown(name)}; expected one of the twelve standard leads: {', '.join(STANDARD_LEADS)}."
        )
    return lead


def rows_of_leads(names: Sequence[str], leads: Sequence[str], who: str, hint: str = "") -> list[int]:
    """The channels that are needed for some of the twelve standard leads.

    A limb lead that is not there is determined by any two others, which are then needed.

    Args:
        names: of the channels.
        leads: in any spelling.
        who: the recording, for messages.
        hint: what to do if a lead is not there, for messages.

    Returns:
        Rows in ascending order.

    Raises:
        ECGInputError: `leads` is empty, or names a lead that is not standard or comes twice; a lead is there twice, or
            is neither there nor determined; or it may be an electrode on the scalp.
    """
    standard = [known_spelling(str(name)) for name in names]
    rows: set[int] = set()
    for lead in wanted_leads(leads):
        if standard.count(lead) > 1:
            raise ECGInputError(f"{who} has {standard.count(lead)} leads {lead}; it has {_list(names)}.")
        if lead in standard:
            rows.add(standard.index(lead))
            continue
        limb = [row for row, name in enumerate(standard) if name in LIMB_LEADS and standard.count(name) == 1]
        if lead not in LIMB_LEADS or len(limb) < 2:
            raise ECGInputError(f"{who} has no lead {lead}; it has {_list(names)}.{hint}")
        rows.update(sorted(limb, key=lambda row: STANDARD_LEADS.index(standard[row] or ""))[:2])
    try:
        refuse_scalp_electrodes(names, sorted(rows))
    except ECGInputError as error:
        raise ECGInputError(f"{who}: {error}") from error
    return sorted(rows)


def channels_to_read(
    names: Sequence[str | None], leads: Sequence[str] | None, lead_names: LeadNames | None, who: str
) -> tuple[list[int], list[str]]:
    """Which channels of a file to read, in its order, and their names: those of leads, if `leads` are asked for.

    Args:
        leads: those that are asked for; None: all channels.

    Raises:
        ECGInputError: as in `renamed_channels` and `rows_of_leads`.
    """
    renamed = renamed_channels(names, lead_names, who)
    if leads is None:
        return list(range(len(renamed))), renamed
    rows = rows_of_leads(renamed, leads, who, f" If a channel has another name, {NAME_CHANNELS}.")
    return rows, [known_spelling(renamed[row]) or "" for row in rows]


def wanted_leads(leads: Sequence[str]) -> list[str]:
    """The standard spellings of leads that are asked for."""
    names = [] if isinstance(leads, str) else list(leads)
    if not names:
        raise ECGInputError(f'leads is {leads!r}; expected a list with at least one name, e.g. ["I", "II", "V1"].')
    return standard_lead_names(names, asked_for=True)


def _list(names: Sequence[str]) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) <= 300 else f"{text[:300]}..."
