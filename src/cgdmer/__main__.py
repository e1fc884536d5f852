# SPDX-License-Identifier: Apache-2.0
"""`python -m cgdmer`, the same as the command `cgdmer`."""

import sys

from cgdmer.commands import main

if __name__ == "__main__":
    sys.exit(main())
