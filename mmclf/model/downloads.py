"""What loading a backbone downloads: said before it happens, and found out at once where there is no network.

The hub's client tries each of several files six times, which takes a minute without a network. So the first file that
is missing is asked for once, with little patience, before anything else is.
"""

import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsUnavailableError
from ..runtime.progress import say

# open_clip's names of weights in a repository, in the order in which it looks for them
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
PATIENCE = 5.0  # seconds for an answer
MB = 1e6


@dataclass(frozen=True)
class HubFile:
    """A file of a repository; the first of the `names` that it has."""

    repository: str
    names: Sequence[str]


@dataclass(frozen=True)
class UrlFile:
    """A file that open_clip keeps in its own folder."""

    url: str

    @property
    def is_here(self) -> bool:
        """Whether it was downloaded before."""
        return (Path.home() / ".cache" / "clip" / self.url.rpartition("/")[2]).is_file()


def announce(title: str, file: HubFile | UrlFile, advice: str) -> None:
    """Say what is going to be downloaded, if anything, and how large it is.

    Args:
        title: of what the file holds, for people.
        file: that is needed.
        advice: what to do without a network.

    Raises:
        WeightsUnavailableError: nobody answers.
    """
    try:
        size = _url_size(file) if isinstance(file, UrlFile) else _hub_size(file)
    except _NoAnswer as error:
        raise WeightsUnavailableError(
            f"model.pretrained: {title} can't be downloaded from here; {advice} (the last error was {error})"
        ) from None
    if size:
        say(f"downloading {title}, {size / MB:,.0f} MB")


class _NoAnswer(Exception):  # noqa: N818
    """No server was reached."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {str(error)[:200]}")


def _hub_size(file: HubFile) -> int | None:
    """Bytes of a file that isn't in the hub's cache; None where there is nothing to say.

    Raises:
        _NoAnswer: of the hub.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, revision = file.repository.partition("@")
    wanted = revision or None
    if any(isinstance(try_to_load_from_cache(repository, name, revision=wanted), str) for name in file.names):
        return None
    for name in file.names:
        try:
            return get_hf_file_metadata(hf_hub_url(repository, name, revision=wanted), timeout=PATIENCE).size
        except HfHubHTTPError:  # it has no such file, or isn't ours to see: loading explains it if there is no other
            continue
        except Exception as error:  # its client has errors of its own for each layer of the network
            raise _NoAnswer(error) from None
    return None


def _url_size(file: UrlFile) -> int | None:
    """The same of an address."""
    if file.is_here or not file.url.startswith("https://"):
        return None
    request = urllib.request.Request(file.url, method="HEAD")  # noqa: S310 - https, of open_clip's own table
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return int(answer.headers.get("Content-Length") or 0) or None
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        raise _NoAnswer(error) from None
