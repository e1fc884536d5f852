# SPDX-License-Identifier: Apache-2.0
"""The package's own error types.

Each message names the file, field or argument at fault, says what was expected and what to do about it.
"""


class CGDMERError(Exception):
    """Base of every error that this package raises on purpose."""


class ECGInputError(CGDMERError, ValueError):
    """A signal, or what was said about it (rate, unit, leads), cannot be used as it stands."""


class RecordFileError(CGDMERError):
    """A recording on disk is absent, damaged, or silent about something that must not be guessed."""


class CorpusError(CGDMERError):
    """A corpus or a prepared dataset as a whole (its folder, its tables, its columns) cannot be used."""


class ModelFolderError(CGDMERError):
    """A model folder or checkpoint lacks weights, or holds those of another configuration."""


class ConfigurationError(CGDMERError, ValueError):
    """A configuration value, or a combination of values, has no meaning."""


class PublishingError(CGDMERError):
    """The Hub does not take what is pushed: no token, no permission, no network, or a name it does not allow."""


class ExportError(CGDMERError):
    """A model cannot be exported, or what was exported does not answer as the model does."""


class ECGInputWarning(UserWarning):
    """A recording is used as it stands, but what was said about it is hardly true."""


class TrainingError(CGDMERError):
    """A training run cannot go on."""
