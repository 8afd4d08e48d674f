"""Which failures a user can mend, and what is said of them; any other is a bug and keeps its traceback."""

import sys

from mmclf.errors import MmclfError


def explain(error: Exception) -> str | None:
    """A failure in a sentence; None for a bug.

    What is raised while a run is closed on a broken store hides why it was closed: both are said then.
    """
    if isinstance(error, MmclfError):
        return str(error)
    if "mlflow" in sys.modules:
        from mmclf.records.store_errors import explain as explain_failure
    else:
        from mmclf.store.failures import explain as explain_failure
    said = explain_failure(error)
    if said is None:
        return None
    earlier = _first_mendable(error)
    return said if earlier is None else f"{earlier}\nand then: {said}"


def _first_mendable(error: BaseException) -> MmclfError | None:
    """What was raised before and led to an error."""
    found, seen = None, error.__context__
    while seen is not None:
        if isinstance(seen, MmclfError):
            found = seen
        seen = seen.__context__
    return found
