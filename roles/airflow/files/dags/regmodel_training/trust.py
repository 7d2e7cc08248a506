"""Which models may be loaded. Loading a model can run code of its author, so its files are checked first.

The service (`regmodel`) and the training (`regmodel_training`) each have this file, because their images share no code. A test compares the two.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

# The environment variable, and the role variable that sets it on every host.
VARIABLE = "REGMODEL_ALLOWED_FLAVORS"
WIDENED_BY = "regmodel_allowed_flavors"

# What may be allowed: a flavor of MLflow (https://mlflow.org/docs/latest/ml/model), another format of scikit-learn's flavor, or a further
# type for skops to load.
SKLEARN = "sklearn"
PYTHON = "python_function"
DEFAULT = (SKLEARN,)
_ENTRY = re.compile(r"[a-z][a-z0-9_]*|sklearn:(pickle|cloudpickle|[A-Za-z_]\w*(\.[A-Za-z_]\w*)+)")

# What scikit-learn's own regressors are made of, beside what skops trusts by itself. None of these runs code that a file names. Some hold
# raw arrays, with which a forged file can end the process that reads it, and no more.
TRUSTED_TYPES = frozenset(
    {
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)

# The methods of a scikit-learn model that MLflow can be asked to predict with.
_PREDICT = ("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score")

# To these the client sends no password. To an HTTP server that a version's source names, it would send MLflow's.
_STORES = ("gs", "s3")

# MLflow writes a few kilobytes; a column of a signature takes about 60 bytes.
_MLMODEL_BYTES = 1024 * 1024
_MLMODEL_ALIASES = 16
# skops does not compress.
_INFLATION = 20


class UntrustedModel(Exception):
    """The model may not be loaded; the message says why, and what allows it."""


def allowed_from(text: str) -> frozenset[str]:
    """The entries of REGMODEL_ALLOWED_FLAVORS, which commas separate; an empty text means the default. Raises ValueError."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()] or list(DEFAULT)
    wrong = [entry for entry in entries if not _ENTRY.fullmatch(entry)]
    if wrong:
        raise ValueError(
            f"{VARIABLE} has {', '.join(map(repr, wrong))}: wanted are flavors of MLflow such as {SKLEARN} or {PYTHON}, "
            "sklearn:pickle, sklearn:cloudpickle, or sklearn: and the full name of a type"
        )
    return frozenset(entries)


def load(name: str, version: str, folder: str, allowed: Collection[str]) -> PyFuncModel:
    """Download a registered version to a folder, check it, and load it. Raises UntrustedModel, and whatever goes wrong on the way."""
    from mlflow import pyfunc

    path = fetch(name, version, folder, allowed)
    # The warnings would compare the model's requirements.txt, which may name any file to be read (-r).
    return pyfunc.load_model(str(path), suppress_warnings=True)


def fetch(name: str, version: str, folder: str, allowed: Collection[str]) -> Path:
    """Download a registered version to a folder and check it; where it is then. Raises what `load` raises."""
    from mlflow import get_tracking_uri
    from mlflow.artifacts import download_artifacts

    source = _source(name, version)
    check_source(source, get_tracking_uri())
    path = Path(download_artifacts(artifact_uri=source, dst_path=folder))
    check(path, allowed)
    return path


def _source(name: str, version: str) -> str:
    """Where the files of a registered version are."""
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    uri = ModelsArtifactRepository.get_underlying_uri(f"models:/{name}/{version}")
    if urlsplit(uri).scheme == "models":
        uri = ModelsArtifactRepository.get_underlying_uri(uri)
    if urlsplit(uri).scheme == "runs":
        uri = RunsArtifactRepository.get_underlying_uri(uri)
    return uri


def check_source(uri: str, tracking_uri: str) -> None:
    """Raise UntrustedModel if a version's files would come from elsewhere than MLflow or an object store."""
    parts = urlsplit(uri)
    own = parts.scheme == "mlflow-artifacts" and parts.netloc in ("", urlsplit(tracking_uri).netloc.rpartition("@")[2])
    if not own and parts.scheme not in _STORES:
        where = f"{parts.scheme or 'file'}://{parts.netloc.rpartition('@')[2]}"
        raise UntrustedModel(f"its files are at {where}, wanted is MLflow itself (mlflow-artifacts:/) or one of {', '.join(_STORES)}")


def check(folder: Path, allowed: Collection[str]) -> None:
    """Raise UntrustedModel if loading what lies in a folder could run code that is not allowed. Nothing of it is loaded for that.

    allowed: what `allowed_from` returned.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UntrustedModel(f"{path.relative_to(folder)} is neither a file nor a directory")
    described = _mlmodel(folder)
    flavors = _mapping(described.get("flavors"), "flavors")
    function = _mapping(flavors.get(PYTHON), f"flavors.{PYTHON}")
    flavor = _flavor(function.get("loader_module"))
    if PYTHON in allowed:
        return
    if flavor not in allowed:
        runs = f"its flavor is {flavor} (loader_module {_shown(function.get('loader_module'))}), and loading that can run code of its author"
        raise _refusal(runs, flavor, allowed)
    for name, conf in flavors.items():
        if isinstance(conf, Mapping) and conf.get("code"):
            raise _refusal(f"it brings code of its own (flavors.{_shown(name)}.code)", PYTHON, allowed)
    # MLflow reads the MLmodel beside the data, so both are in this very folder.
    for key in ("data", "model_path"):
        if key in function:
            _own(folder, function[key], f"flavors.{PYTHON}.{key}")
    example = described.get("saved_input_example_info")
    if example is not None:
        _own(folder, _mapping(example, "saved_input_example_info").get("artifact_path"), "saved_input_example_info.artifact_path")
    if flavor == SKLEARN:
        _check_sklearn(folder, function, flavors, allowed)


def _check_sklearn(folder: Path, function: Mapping[str, Any], flavors: Mapping[str, Any], allowed: Collection[str]) -> None:
    if function.get("predict_fn", "predict") not in _PREDICT:
        raise UntrustedModel(f"it wants to predict by {_shown(function['predict_fn'])}, usable are {', '.join(_PREDICT)}")
    file = _own(folder, function.get("data", function.get("model_path")), f"flavors.{PYTHON}.model_path")
    if not file.is_file():
        raise UntrustedModel(f"{file.name} is a directory, wanted is a file")
    # Without this flavor MLflow takes the file for a pickle.
    kind = _mapping(flavors.get(SKLEARN, {}), f"flavors.{SKLEARN}").get("serialization_format", "pickle")
    if kind != "skops":
        entry = f"{SKLEARN}:{kind}"
        if entry not in allowed:
            wanted = "log it with serialization_format='skops'"
            raise _refusal(f"it is stored as {_shown(kind)}, and loading that can run code of its author; {wanted}", entry, allowed)
        return
    import skops.io

    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _INFLATION * file.stat().st_size:
        raise UntrustedModel(f"{file.name} has {file.stat().st_size} bytes and would take {size} unpacked: skops does not compress")
    types = set(skops.io.get_untrusted_types(file=file)) - TRUSTED_TYPES
    further = sorted(kind for kind in types if f"{SKLEARN}:{kind}" not in allowed)
    if further:
        raise _refusal(f"{file.name} has types that are not trusted: {', '.join(further[:2])}", f"{SKLEARN}:{further[0]}", allowed)


def _flavor(loader: Any) -> str:
    """The flavor that a loader belongs to. A loader that is not MLflow's own is a Python model, of which MLflow says nothing."""
    found = re.fullmatch(r"mlflow\.([a-z][a-z0-9_]*)", loader) if isinstance(loader, str) else None
    return found[1] if found else PYTHON


def _mlmodel(folder: Path) -> Mapping[str, Any]:
    import yaml

    class Plain(yaml.SafeLoader):
        """References in references grow without bounds where somebody follows them."""

        aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.aliases += self.check_event(yaml.AliasEvent)
            if self.aliases > _MLMODEL_ALIASES:
                raise UntrustedModel(f"its MLmodel has more than {_MLMODEL_ALIASES} YAML aliases")
            return super().compose_node(parent, index)

    path = folder / "MLmodel"
    try:
        if path.stat().st_size > _MLMODEL_BYTES:
            raise UntrustedModel(f"its MLmodel has {path.stat().st_size} bytes, usable are {_MLMODEL_BYTES}")
        return _mapping(yaml.load(path.read_bytes(), Plain), "MLmodel")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UntrustedModel(f"its MLmodel cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UntrustedModel(f"its MLmodel has no usable {name}: found {_shown(value)}, wanted a mapping")
    return value


def _own(folder: Path, name: Any, key: str) -> Path:
    """What lies in the folder itself under the name that a key of MLmodel has."""
    if not isinstance(name, str) or name not in os.listdir(folder):
        raise UntrustedModel(f"its MLmodel's {key} is {_shown(name)}, wanted is the name of what lies beside MLmodel")
    return folder / name


def _refusal(why: str, entry: str, allowed: Collection[str]) -> UntrustedModel:
    return UntrustedModel(
        f"{why}. If all who may write to MLflow may run code here, add {entry} to {WIDENED_BY} (now {', '.join(sorted(allowed))})"
    )


def _shown(value: Any) -> str:
    text = repr(value)[:60]
    return text if text.isprintable() else ascii(text)
