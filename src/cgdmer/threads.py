# SPDX-License-Identifier: Apache-2.0
"""How the threads of numerical libraries wait for each other. Imports nothing that starts them."""

import os

# A compromise, measured with steps of cgdmer-tiny on two cores. As the library waits by default, a step takes 2.5
# times the processor time on a busy machine, because waiting threads keep cores from others; with this limit, 1.6
# times. If threads slept at once (OMP_WAIT_POLICY=PASSIVE), a step would take 1.1 to 1.4 times as long on an idle one.
_TURNS = "10000"


def threads_wait_briefly() -> None:
    """Set this for GNU OpenMP, which PyTorch uses on Linux, unless the user has. Comes before PyTorch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _TURNS)
