# SPDX-License-Identifier: Apache-2.0
"""Units of voltage, and how much may be taken in: one table for arrays and for all kinds of files."""

# "MV" is missing on purpose: it would be a megavolt. The micro sign and the Greek letter look alike.
MILLIVOLTS_PER_UNIT = {
    **{"V": 1e3, "mV": 1.0, "mv": 1.0, "nV": 1e-6},
    **{"uV": 1e-3, "uv": 1e-3, "\u00b5V": 1e-3, "\u03bcV": 1e-3},
}
UNITS_OF_ARRAYS = ("mV", "uV", "\u00b5V", "\u03bcV", "V")
UNITS_OF_WFDB = (*UNITS_OF_ARRAYS, "mv", "uv")
UNITS_OF_CLINIC_FILES = (*UNITS_OF_ARRAYS, "nV")

LOWEST_RATE, HIGHEST_RATE = 50.0, 10_000.0  # Hz

# What a file may announce. Recorders worn on the skin run for two weeks and up to a month; maps of the body surface,
# the recordings with the most electrodes, have up to about 250.
LONGEST_FILE_SECONDS = 31 * 86_400.0
MOST_LEADS = 256
# What is read at once, of all leads together: a day of twelve leads at 500 Hz, or half a day at 1,000 Hz; some 8 GB of
# memory on the way.
MOST_VALUES = 2**29

# What the feature extractor takes at once: a day, at 1,000 Hz; some 30 GB of memory on the way, however few leads
# there are.
LONGEST_SECONDS, MOST_SAMPLES = 86_400.0, 86_400_000
LONGEST_WINDOW = 2**22  # samples; two hours at 500 Hz, 200 MB
