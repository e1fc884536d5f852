# SPDX-License-Identifier: Apache-2.0
"""The accounts and tokens of the stand-in."""

from stand_in import Account

WRITER, READER, OTHER = "hf_writer", "hf_reader", "hf_other"
TOKENS = {
    WRITER: Account("ann", orgs=("lab",)),
    READER: Account("ann", orgs=("lab",), writes=False),
    OTHER: Account("bob"),
}
