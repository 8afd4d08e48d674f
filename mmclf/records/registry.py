"""The model registry: versions of a model with the aliases `champion` and `previous`."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from ..errors import RegistryError
from ..scoring.bundle import BUNDLE, Bundle, open_bundle
from .runs import download_folder, local_path, quiet_mlflow
from .store_errors import explain, is_missing, store_name
from .vocabulary import CHAMPION, DEFAULT_NAME, MODELS, PREVIOUS, Tag

# what the registry says of a model with this name as a whole
ABOUT = (
    "Products classified from pictures and text. `champion` is the best version by cross-validation, `previous` the "
    "champion before it. Each version's description is its model card."
)


@dataclass(frozen=True)
class RegisteredModel:
    """A version, and its bundle on this machine."""

    version: ModelVersion
    bundle: Bundle

    @property
    def label(self) -> str:
        """Name and number, as `mmclf version 3`."""
        return f"{self.version.name} version {self.version.version}"


def find_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version with this alias; None where there is no such model or alias."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise


def open_model(client: MlflowClient, uri: str) -> RegisteredModel:
    """The model of a `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        RegistryError: there is no such version, or it is no model of mmclf.
        BundleError: its files are incomplete.
    """
    name, at, alias = uri.removeprefix(MODELS).partition("@")
    if not at:
        name, _, number = name.partition("/")
        if not number:
            raise RegistryError(
                f"--model: {uri}: give an alias or a version, {MODELS}{name}@{CHAMPION} or {MODELS}{name}/1"
            )
    try:
        version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, number)
    except MlflowException as error:
        if not is_missing(error):
            raise
        raise RegistryError(
            f"--model: {uri}: not in the registry of {store_name(mlflow.get_registry_uri())}; `register` puts models "
            "there"
        ) from None
    folder = local_path(client.get_model_version_download_uri(version.name, version.version))
    if folder is None:
        with quiet_mlflow():
            whole = f"{MODELS}{version.name}/{version.version}"
            place = download_folder() / f"{version.name}-{version.version}"
            folder = Path(mlflow.artifacts.download_artifacts(whole, dst_path=str(place)))
    return RegisteredModel(version, open_bundle(_bundle_folder(folder, uri)))


def add_version(
    client: MlflowClient, name: str, bundle: Path, card: str, tags: Mapping[Tag, str], run_id: str
) -> ModelVersion:
    """Log a bundle as the model of the active run and register it; without an alias at first.

    Args:
        client: of the store.
        name: of the registered model, made where it doesn't exist.
        bundle: its folder; copied.
        card: the model card, which becomes the version's description.
        tags: of the version.
        run_id: the active run.

    Raises:
        RegistryError: the registry refuses the name.
    """
    plain = {str(tag): value for tag, value in tags.items()}
    with quiet_mlflow():
        from .serving import log_model  # importing MLflow's pyfunc takes a second, which infer doesn't need

        try:
            info = log_model(bundle, metadata={"mmclf": plain})
        except BaseException:
            drop_unnamed(client, run_id)
            raise
        try:
            _make_model(client, name)
            version = client.create_model_version(
                name, info.model_uri, run_id=run_id, tags=plain, description=card, model_id=info.model_id
            )
        except MlflowException as error:
            if explain(error) is not None:
                raise
            raise RegistryError(f"--name: {name!r}: {error.message}") from None
    return version


def drop_unnamed(client: MlflowClient, run_id: str) -> None:
    """Delete the models of a run that no version names, with their files: what an interrupted packing leaves.

    What the store refuses to delete stays.
    """
    with contextlib.suppress(Exception):  # every backend raises its own, and there is another error to tell
        experiment = client.get_run(run_id).info.experiment_id
        named = {version.model_id for version in client.search_model_versions(f"run_id = '{run_id}'")}
        for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
            if model.model_id not in named:
                get_artifact_repository(model.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
                client.delete_logged_model(model.model_id)


def find_interrupted(client: MlflowClient, name: str, tags: Mapping[Tag, str]) -> tuple[ModelVersion, Run] | None:
    """A version with these tags that was made by a run which ended before it was finished, and the run."""
    for version in client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"]):
        if not all(version.tags.get(str(tag)) == value for tag, value in tags.items()):
            continue
        with contextlib.suppress(MlflowException):
            run = client.get_run(version.run_id or "")
            if run.info.status in ("KILLED", "FAILED"):
                return version, run
    return None


def crown(client: MlflowClient, version: ModelVersion, former: ModelVersion | None) -> None:
    """Give a version the alias `champion`; the former champion becomes `previous`."""
    if former is not None and former.version != version.version:
        client.set_registered_model_alias(version.name, PREVIOUS, former.version)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)


def demo_name(client: MlflowClient) -> str:
    """The name that the demo registers under: the usual one, unless a real champion has it."""
    champion = find_alias(client, DEFAULT_NAME, CHAMPION)
    return DEFAULT_NAME if champion is None or Tag.DEMO in champion.tags else f"{DEFAULT_NAME}-demo"


def mark_demo(client: MlflowClient, name: str, number: str) -> None:
    """Mark a version as the demo's, which makes way for a real one."""
    client.set_model_version_tag(name, number, str(Tag.DEMO), "true")


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description=ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _bundle_folder(folder: Path, uri: str) -> Path:
    try:
        description: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        return folder / str(description["flavors"]["python_function"]["artifacts"][BUNDLE]["path"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise RegistryError(f"--model: {uri}: is a model, but not one of mmclf") from None
