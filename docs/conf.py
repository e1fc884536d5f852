# SPDX-License-Identifier: Apache-2.0
"""The site: `sphinx-build -W -b html docs site`."""

from importlib.metadata import version as version_of

project = "cgdmer"
author = "the cgdmer authors"
copyright = "the cgdmer authors, Apache-2.0"
version = release = version_of("cgdmer")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_argparse_cli",  # commands.md, from the parsers
]
myst_heading_anchors = 3
exclude_patterns = ["journal.md"]
html_theme = "furo"
html_title = f"cgdmer {version}"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
