# SPDX-License-Identifier: Apache-2.0
"""The device to run on, checked before torch fails in its own words."""

import torch

from .errors import ConfigurationError


def usable_device(device: str | int | torch.device | None) -> torch.device:
    """The device; None stands for a GPU if there is one.

    Raises:
        ConfigurationError: this machine, or this build of torch, does not have it.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == -1:  # as in transformers' pipelines
        return torch.device("cpu")
    if isinstance(device, int) and not torch.accelerator.is_available():
        device = f"cuda:{device}"  # torch counts accelerators of any type, of which there are none
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigurationError(f'device is {device!r}; expected "cpu", "cuda", or "cuda:1".') from error
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            there = f"torch finds {count} GPUs here" if count else "torch finds no GPU here"
            build = "" if torch.version.cuda else f", and this build of torch ({torch.__version__}) supports none"
            raise ConfigurationError(
                f'device is {str(found)!r}, but {there}{build}. Leave it out to use what there is, or pass "cpu".'
            )
    return found
