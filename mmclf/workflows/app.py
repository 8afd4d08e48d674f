"""A page in the browser that asks a model: one product, or a table of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, TableError
from ..records.vocabulary import DEFAULT_MODEL
from ..runtime.progress import clock, say
from ..store.scratch import scratch_folder

if TYPE_CHECKING:
    from ..data.catalog import Catalog
    from ..data.table import TableLike
    from ..records.sources import Source
    from ..web.neighbours import Neighbours
    from ..web.serving import Serving

HOST, PORT = "127.0.0.1", 7860
NO_TABLE = "To see the training products that are most like this one, start the app with --csv and --images."


def app(
    model: str = DEFAULT_MODEL,
    *,
    table: "TableLike" = "",
    images: str | Path = "",
    host: str = HOST,
    port: int = PORT,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION or the id of a run of stage1, stage2 or a fusion.
        table: the training table, whose products are shown beside the one that is asked about; "" for none.
        images: the folder of its pictures.
        host: the address to listen on; one of this machine alone unless it is another.
        port: 0 for any that is free.

    Raises:
        MmclfError: the model, the table or the port can't be used; the message says why.
    """
    opened = opened_app(model, table=table, images=images, host=host, port=port)
    with opened as serving, contextlib.suppress(KeyboardInterrupt):
        say(f"app: {serving.url} (Ctrl-C ends it)")  # whoever reads it may do so at once
        serving.wait()
    say("app: ended")


@contextlib.contextmanager
def opened_app(
    model: str = DEFAULT_MODEL,
    *,
    table: "TableLike" = "",
    images: str | Path = "",
    host: str = HOST,
    port: int = PORT,
) -> "Iterator[Serving]":
    """The page while the block runs; see `app`."""
    if "," in model:
        raise ConfigError(f"--model: found {model!r}; give one model (`ensemble` makes one of several runs)")
    has_table = not (isinstance(table, str) and table == "")
    if has_table != bool(str(images)):
        raise ConfigError("--csv and --images: give both, or none of them")
    from ..data.catalog import read_catalog
    from ..records import runs
    from ..records.sources import Use, find_sources
    from ..runtime.speed import Stopwatch
    from ..scoring.limits import Limits
    from ..scoring.requests import RowScorer
    from ..web.serving import served
    from ..web.site import About, Site

    limits = Limits.of_server()
    [source] = find_sources(runs.connect(), model or DEFAULT_MODEL, Use())
    say(f"app: {source}")
    neighbours, why_not = None, NO_TABLE
    facts = [("Model", str(source)), ("Classes", f"{len(source.mixture.classes):,}")]
    if has_table:
        data = source.config.data.model_copy(
            update={"text_cols": source.text_cols, "label_col": source.checkpoints[0].meta.label_col}
        )
        catalog = read_catalog(table, images, data, training=True)
        neighbours, why_not = _find_neighbours(source, catalog), ""
        facts.append(("Compared with", f"{len(catalog):,} products of {catalog.short_name}"))
    watch = Stopwatch()
    scorer = RowScorer(source.mixture)
    scorer.warm_up()
    say(f"app: the model is loaded in {clock(watch.seconds)}")
    if host not in ("127.0.0.1", "localhost", "::1"):
        say(f"warning: whoever can reach {host} can ask the model; there is no login (docs/app.md)")
    with scratch_folder() as folder, contextlib.ExitStack() as stack:
        site = Site(scorer, About(source.label, facts, why_not), neighbours, folder, limits)
        stack.callback(site.close)
        yield stack.enter_context(served(site.application(host), host, port))


def _find_neighbours(source: "Source", catalog: "Catalog") -> "Neighbours":
    """The training table by its features, from the cache where that has them."""
    from ..runtime.device import allow_tf32, pick_device, pick_precision
    from ..scoring.fold_models import FoldModels
    from ..scoring.predict import first_features
    from ..store.cache import open_cache
    from ..web.neighbours import Neighbours

    if catalog.labels is None:
        raise TableError(f"{catalog.name}: has no labels to show")
    device, config = pick_device(), source.config
    allow_tf32(device)
    models = FoldModels(
        source.mixture.members(),
        device=device,
        precision=pick_precision(device, config.train.amp),
        cache=open_cache(),
    )
    data = config.data.model_copy(update={"on_bad_image": "placeholder"})
    say(f"app: looking at the {len(catalog):,} products of {catalog.name}")
    inputs = first_features(catalog.rows, models, data, max_batch=config.infer.batch_size)
    return Neighbours(catalog.rows, catalog.labels, inputs)
