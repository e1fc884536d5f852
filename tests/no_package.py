# SPDX-License-Identifier: Apache-2.0
"""For a process that stands for a machine without `cgdmer`."""

import sys


class NoPackage:
    """Forbids the import of the package, however it is installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "cgdmer":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def forbid_the_package() -> None:
    sys.meta_path.insert(0, NoPackage())


__all__ = ["forbid_the_package"]
