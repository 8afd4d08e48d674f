"""Views of rows, each once that shows the same, however many rows or files show it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import PictureError
from .pictures import Pictures
from .views import View


@dataclass(frozen=True)
class DistinctViews:
    """The views of some rows, and before them the black placeholder.

    Attributes:
        views: one of each; the first is None, the placeholder.
        contents: what each shows.
        of_rows: places in `views` of those of each row; files that can't be read are left out.
    """

    views: list[View | None]
    contents: list[str]
    of_rows: list[list[int]]

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[View]],
        pictures: Pictures,
        *,
        by_content: bool,
        complain: Callable[[str, str], None],
    ) -> "DistinctViews":
        """Those of some rows.

        Args:
            rows: views of each.
            pictures: that they are views of.
            by_content: tell pictures by the content of their files, which are read for it; else by their names.
            complain: is given the name of a file that can't be read, and a sentence; what it raises ends the work.
        """
        content = _contents([view for views in rows for view in views], pictures, complain) if by_content else None
        found: list[View | None] = [None]
        place_of: dict[str, int] = {}  # by content
        of_rows: list[list[int]] = []
        for views in rows:
            places = []
            for view in views:
                shown = view.name if content is None else content[view.name]
                if shown is None:
                    continue
                place = place_of.setdefault(f"{shown}\x1f{view.seed}", len(found))
                if place == len(found):
                    found.append(view)
                places.append(place)
            of_rows.append(places)
        return cls(found, ["placeholder", *place_of], of_rows)


def _contents(views: Sequence[View], pictures: Pictures, complain: Callable[[str, str], None]) -> dict[str, str | None]:
    """Digests of the files by their names; None where they can't be read."""

    def digest(name: str) -> str | None:
        try:
            return pictures.digest(name)
        except PictureError as error:
            complain(name, str(error))
            return None

    names = list(dict.fromkeys(view.name for view in views))
    with ThreadPoolExecutor(8) as pool:  # waits for the disk, and hashing lets other threads run
        return dict(zip(names, pool.map(digest, names), strict=True))
