"""mmclf: classify products from pictures and text, with every experiment on record.

    import mmclf
    mmclf.fit("train.csv", images="images/")
    model = mmclf.load("models:/mmclf@champion")
    model.predict(frame)

Nothing is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import MmclfError
    from .workflows.app import app
    from .workflows.batch import batch, estimate_batch
    from .workflows.check import check
    from .workflows.compare import compare
    from .workflows.ensemble import ensemble
    from .workflows.evaluate import evaluate
    from .workflows.fit import fit
    from .workflows.infer import infer
    from .workflows.loaded_model import load
    from .workflows.outlook import estimate_fit
    from .workflows.register import register
    from .workflows.stage1 import stage1
    from .workflows.stage2 import stage2
    from .workflows.tune import tune

__version__ = "0.1.0"
__all__ = [
    "MmclfError",
    "__version__",
    "app",
    "batch",
    "check",
    "compare",
    "ensemble",
    "estimate_batch",
    "estimate_fit",
    "evaluate",
    "fit",
    "infer",
    "load",
    "register",
    "stage1",
    "stage2",
    "tune",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'mmclf' has no attribute {name!r}")
    from importlib import import_module

    places = {
        "MmclfError": "errors",
        "load": "workflows.loaded_model",
        "estimate_fit": "workflows.outlook",
        "estimate_batch": "workflows.batch",
    }
    place = places.get(name, f"workflows.{name}")
    return getattr(import_module(f".{place}", __name__), name)


def __dir__() -> list[str]:
    return __all__
