# SPDX-License-Identifier: Apache-2.0
"""Units of voltage and limits on size: one table for arrays and every kind of file."""

import re

# How units are written in messages.
EXPECTED_UNITS = "mV, uV, \u00b5V, nV, or V, also spelled out"

_MILLIVOLTS = {"": 1e3, "m": 1.0, "milli": 1.0, "n": 1e-6, "nano": 1e-6}
_MILLIVOLTS |= dict.fromkeys(
    ("u", "\u00b5", "\u03bc", "micro"), 1e-3
)  # the micro sign and the Greek letter look alike
_UNIT = re.compile(rf"({'|'.join(_MILLIVOLTS)})[ -]?v(?:olts?)?", re.IGNORECASE)
# "MV" is a megavolt, or a millivolt of a writer that knows only capitals. A capital Greek my looks the same.
_MEGA = re.compile("[M\u039c][ -]?[vV]")


def millivolts_per(unit: str) -> float | None:
    """How many millivolts one unit of voltage is; None for anything else, and for a unit that is uncertain ("MV")."""
    unit = unit.strip()
    match = _UNIT.fullmatch(unit)
    if not match or (_MEGA.match(unit) and not unit.lower().startswith("milli")):
        return None
    return _MILLIVOLTS[match[1].lower()]


LOWEST_RATE, HIGHEST_RATE = 50.0, 10_000.0  # Hz

# What a file may claim to hold. Wearable recorders run for two weeks, some for a month. Body surface maps, the
# recordings with the most electrodes, have up to about 250.
LONGEST_FILE_SECONDS = 31 * 86_400.0
MOST_LEADS = 256
# Values read at once, over all leads: a day of twelve leads at 500 Hz, which needs about 8 GB of memory.
MOST_VALUES = 2**29

# What the feature extractor takes at once: a day at 1,000 Hz, which needs about 30 GB of memory, however few leads.
LONGEST_SECONDS, MOST_SAMPLES = 86_400.0, 86_400_000
LONGEST_WINDOW = 2**22  # samples; two hours at 500 Hz, 200 MB
