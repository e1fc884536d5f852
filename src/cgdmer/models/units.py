# SPDX-License-Identifier: Apache-2.0
"""Units of voltage and limits on size: one table for arrays and every kind of file."""

# "MV" is left out on purpose: it would be a megavolt. The micro sign and the Greek letter look alike.
MILLIVOLTS_PER_UNIT = {
    **{"V": 1e3, "mV": 1.0, "mv": 1.0, "nV": 1e-6},
    **{"uV": 1e-3, "uv": 1e-3, "\u00b5V": 1e-3, "\u03bcV": 1e-3},
}
UNITS_OF_ARRAYS = ("mV", "uV", "\u00b5V", "\u03bcV", "V")
UNITS_OF_WFDB = (*UNITS_OF_ARRAYS, "mv", "uv")
UNITS_OF_CLINIC_FILES = (*UNITS_OF_ARRAYS, "nV")

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
