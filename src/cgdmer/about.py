# SPDX-License-Identifier: Apache-2.0
"""What all modules need to know about the package. Imports nothing."""

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not a medical device."
