# SPDX-License-Identifier: Apache-2.0
"""The package's own error types.

Each message names the file, field, or argument at fault, and says what was expected and what to do about it.
"""


class CGDMERError(Exception):
    """Base class of every error that this package raises on purpose."""


class ECGInputError(CGDMERError, ValueError):
    """A signal, or what was said about it (rate, unit, leads), cannot be used as it is."""


class RecordFileError(CGDMERError):
    """A recording on disk is missing, damaged, or does not state something that must not be guessed."""


class CorpusError(CGDMERError):
    """A corpus or a prepared dataset as a whole (its folder, tables, or columns) cannot be used."""


class ModelFolderError(CGDMERError):
    """A model folder or checkpoint lacks weights, or has weights for another configuration."""


class ConfigurationError(CGDMERError, ValueError):
    """A configuration value, or a combination of values, makes no sense."""


class PublishingError(CGDMERError):
    """The Hub does not accept a push: no token, no permission, no network, or a name that it does not allow."""


class ExportError(CGDMERError):
    """A model cannot be exported, or the exported model does not give the model's own answers."""


class ECGInputWarning(UserWarning):
    """A recording is used as it is, but what was said about it is probably wrong."""


class TrainingError(CGDMERError):
    """A training run cannot continue."""


def shown(value: object) -> str:
    """A value of any type and size, shortened for a message."""
    try:
        text = repr(value[:100] if isinstance(value, (str, bytes)) else value)
    except ValueError:  # an integer with more digits than Python prints
        text = f"a number of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."
