"""The register MODELS_DIR/models.json: what was pulled, what is half pulled, what was imported.

{"format": "sdv2-models", "version": 1,
 "pulled":     {"REPO/PATH": {"commit": 40 hex, "size_bytes": n, "sha256": 64 hex}},
 "unfinished": {"REPO/PATH": name of the blob that is being loaded, 40 or 64 hex},
 "imported":   {SLOT: {"path": absolute path of the user's own file, "size_bytes": n or null}}}

Beside it lies .models.lock, held while a process changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sdv2_host.errors import ModelError
from sdv2_host.models.whole_file import write_whole

FILE_NAME = "models.json"
LOCK_NAME = ".models.lock"
LOCK_WAIT_S = 10.0
"""A change takes milliseconds."""
MAX_BYTES = 1_000_000


def _check_absolute(path: str) -> str:
    if not Path(path).is_absolute() or "\0" in path or "\n" in path:
        raise ValueError("expected an absolute path")
    return path


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PulledFile(_Frozen):
    """What was on disk when the download was found complete and right."""

    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ImportedPart(_Frozen):
    """A file or folder of the user that stands for a part; None = a folder."""

    path: Annotated[str, Field(max_length=4096), AfterValidator(_check_absolute)]
    size_bytes: int | None = Field(None, ge=0)


BlobName = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
FileKey = Annotated[str, Field(max_length=500)]
Slot = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,40}$")]


class Register(_Frozen):
    """The content of models.json, a value: changes make a new one."""

    format: Literal["sdv2-models"] = "sdv2-models"
    version: Literal[1] = 1
    pulled: dict[FileKey, PulledFile] = {}
    unfinished: dict[FileKey, BlobName] = {}
    imported: dict[Slot, ImportedPart] = {}

    def with_started(self, key: str, blob: str) -> Register:
        return self.model_copy(update={"unfinished": {**self.unfinished, key: blob}})

    def with_pulled(self, key: str, file: PulledFile) -> Register:
        started = {name: blob for name, blob in self.unfinished.items() if name != key}
        return self.model_copy(update={"pulled": {**self.pulled, key: file}, "unfinished": started})

    def with_imported(self, slot: str, part: ImportedPart) -> Register:
        return self.model_copy(update={"imported": {**self.imported, slot: part}})

    def without(self, keys: set[str], slots: set[str]) -> Register:
        """Forgets these files and these imported parts."""
        return self.model_copy(
            update={
                "pulled": {key: file for key, file in self.pulled.items() if key not in keys},
                "unfinished": {k: blob for k, blob in self.unfinished.items() if k not in keys},
                "imported": {s: part for s, part in self.imported.items() if s not in slots},
            }
        )


def load_register(models_dir: Path) -> Register:
    """What models.json says; empty when there is none.

    Raises:
        ModelError: it cannot be read, or is not such a file; saying which entry is wrong.
    """
    path = models_dir / FILE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than {MAX_BYTES} bytes; {_REMEDY}")
        return Register.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Register()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "its text"
        raise ModelError(f"{path}: {where} is wrong, {first['msg'].lower()}; {_REMEDY}") from None


_REMEDY = "move it away, then pull and import again: files that are there are not loaded twice"


def update_register(
    models_dir: Path, change: Callable[[Register], Register], wait_s: float = LOCK_WAIT_S
) -> None:
    """models.json holds what `change` makes of it; of changes at the same time none is lost.

    Raises:
        ModelError: it cannot be read or written, or somebody else holds it for too long.
    """
    path = models_dir / FILE_NAME
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(models_dir / LOCK_NAME, timeout=wait_s):
            save_register(models_dir, change(load_register(models_dir)))
    except TimeoutError as error:
        raise ModelError(f"{path}: in use by another process for {wait_s:g} s") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error


def save_register(models_dir: Path, register: Register) -> None:
    """models.json holds `register`: the old content or the new, never a part of it.

    Raises:
        ModelError: it cannot be written.
    """
    path = models_dir / FILE_NAME
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        write_whole(path, (register.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error
