"""Errors that a user can act on.

Each message names the place (file, row, column, key), what was found there, and what to do. The entry
points print it as it is, without a traceback, and exit with code 2. Anything that is not an `MmclfError`
is a bug and keeps its traceback.
"""

# characters of what was found that a message shows
MOST_SHOWN = 80


def shown(found: object) -> str:
    """What was found, as it is written in Python, for a message; cut where it is long."""
    text = repr(found)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class MmclfError(Exception):
    """Base of every error that is the input's, not the program's."""


class ConfigError(MmclfError):
    """A configuration file, an override or an option that can't be used."""


class AlignmentError(ConfigError):
    """Towers that can't compare pictures with texts, for a head that needs it."""


class TableError(MmclfError):
    """The CSV can't be read, or a column or row of it can't be used."""


class PictureError(MmclfError):
    """The picture folder, or a picture in it, can't be used."""


class FoldError(MmclfError):
    """The rows can't be split into the folds that were asked for."""


class BackboneError(MmclfError):
    """The image and text towers can't be built as asked."""


class ActivationMismatchError(BackboneError):
    """The weights were trained with another activation than the model name stands for."""


class WeightsUnavailableError(BackboneError):
    """The pretrained weights are not on this machine and could not be downloaded."""


class CheckpointError(MmclfError):
    """A stored checkpoint is missing, damaged, or doesn't fit what it is loaded into."""


class BundleError(MmclfError):
    """A packaged model is incomplete, or of another version."""


class RowError(MmclfError):
    """Rows that a client sent can't be scored."""


class TooLargeError(RowError):
    """A request is larger than the server takes."""


class BusyError(MmclfError):
    """A server has too much to do for one more request."""


class DeadlineError(MmclfError):
    """A request took longer than it may, or its client is gone."""


class OutputError(MmclfError):
    """The folder that a user named for the results can't be written."""


class RunError(MmclfError):
    """An MLflow run that was named, or looked for, isn't there or doesn't fit."""


class RegistryError(MmclfError):
    """A registered model that was named isn't there, or can't be made."""


class ComparisonError(MmclfError):
    """Models that can't be compared, since they weren't trained on the same rows and folds."""


class EnsembleError(MmclfError):
    """Probability tables that can't be averaged."""


class BatchError(MmclfError):
    """A batch on Spark can't start or can't go on."""


class TrainingError(MmclfError):
    """Training can't go on with these settings."""
