"""The rows that a model held out when it was trained: what is to be expected of it on others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import resolve_config
from ..data.catalog import Catalog
from ..errors import MmclfError, RunError
from ..evaluation.intervals import Interval, bootstrap
from ..evaluation.pool import Pool, fit_pool
from ..evaluation.probabilities import ProbabilityTable, read_table
from ..records import runs
from ..records.fusion import FUSION, read_pool
from ..records.sources import Source
from ..records.vocabulary import Artifact, Tag
from ..runtime.progress import say
from .tables import read_trained


@dataclass(frozen=True)
class Reference:
    """The rows that a model held out when it was trained.

    Attributes:
        table: out of fold; its classes in the order of the model's.
        catalog: that it was trained on; None where it isn't there any more, or has changed.
    """

    table: ProbabilityTable
    catalog: Catalog | None

    def figures(self) -> dict[str, Interval]:
        """With intervals; by groups where the catalogue has some."""
        groups = None if self.catalog is None else self.catalog.groups
        if self.catalog is not None and groups is not None:
            of = dict(zip(self.catalog.ids, groups, strict=True))
            groups = [of[i] for i in self.table.ids]
        return bootstrap(self.table, groups)

    def temperature(self) -> Pool:
        """What calibrates the model's confidence."""
        return fit_pool([self.table.probabilities], self.table.targets())


def find_reference(sources: Sequence[Source], classes: Sequence[str]) -> Reference | None:
    """What is known of the rows that a model held out; None, and a note, where nothing is.

    Args:
        sources: what scores; of several that are averaged nothing is known.
        classes: in the order of the probabilities.
    """
    if len(sources) > 1:
        say("note: nothing is known of what several averaged models reach out of fold; `ensemble` fuses them")
        return None
    client, run_id = runs.connect(), sources[0].run_id
    try:
        if not run_id:
            raise RunError("the version doesn't name the run that it comes from")
        run = runs.get_run(client, run_id)
        table = read_table(runs.artifact_path(run, Artifact.OOF))
    except MmclfError as error:
        say(f"note: what {sources[0].label} reached out of fold isn't at hand: {error}")
        return None
    columns = [table.classes.index(name) for name in classes]
    table = replace(table, classes=tuple(classes), probabilities=table.probabilities[:, columns])
    return Reference(table, trained_catalog(run_id, "texts and pictures aren't compared with those of the training"))


def trained_catalog(run_id: str, without: str) -> Catalog | None:
    """The catalogue that a run of a stage or a fusion was trained on; None, and a note, where it isn't there any more.

    Args:
        run_id: of the parent.
        without: what can't be done then, for the note.
    """
    client = runs.connect()
    run = runs.get_run(client, run_id)
    tags = run.data.tags
    if Tag.CSV not in tags:
        say(f"note: {without}: run {run_id} was trained on a data frame, which no run keeps")
        return None
    try:
        first = run if tags[Tag.STAGE] != FUSION else runs.get_run(client, read_pool(run).runs[0])
        data = resolve_config(runs.artifact_path(first, Artifact.CONFIG)).data
        return read_trained(tags[Tag.CSV], tags[Tag.IMAGES], tags[Tag.FINGERPRINT], data)
    except MmclfError as error:
        say(f"note: {without}: {error}")
        return None
