# SPDX-License-Identifier: Apache-2.0
"""The page of `cgdmer app` as a Hugging Face Space. To run it locally: python examples/space/app.py"""

from cgdmer.app.page import build_page, launch_page
from cgdmer.inference.scorers import load_scorer

if __name__ == "__main__":
    launch_page(build_page(load_scorer()))
