"""Files of models, pinned by checksum. They come in packages of which no code is run."""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infermesh_common.errors import Unavailable

_PIECE_BYTES = 1 << 20
_SHOWN_HEX = 12


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes:
        package: import name of the package that carries it.
        path: within that package, with slashes.
        sha256: hexadecimal digest of its content.
    """

    package: str
    path: str
    sha256: str

    def locate(self, folder: Path | None) -> Path:
        """Where it is.

        Args:
            folder: holds the model's files by their last names, in place of the package; None for
                the package.

        Raises:
            Unavailable: EMBEDDING_MODEL_MISSING; names the file.
        """
        for place in _places(self, folder):
            if place.is_file():
                return place
        where = str(folder) if folder is not None else f"package {self.package}"
        raise Unavailable(
            "EMBEDDING_MODEL_MISSING",
            f"The model's file {self.path} is not in {where}.",
            metadata={"file": self.path},
        )

    def verified(self, folder: Path | None) -> Path:
        """As `locate`, after reading the whole file.

        Raises:
            Unavailable: EMBEDDING_MODEL_MISSING, or EMBEDDING_MODEL_MISMATCH: it is another one.
        """
        place = self.locate(folder)
        digest = hashlib.sha256()
        try:
            with place.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
        except OSError as error:
            raise Unavailable(
                "EMBEDDING_MODEL_MISSING",
                f"The model's file {place} cannot be read: {error.strerror}.",
                metadata={"file": self.path},
            ) from error
        if digest.hexdigest() != self.sha256:
            raise Unavailable(
                "EMBEDDING_MODEL_MISMATCH",
                f"The model's file {place} has SHA-256 {digest.hexdigest()[:_SHOWN_HEX]}..., "
                f"not {self.sha256[:_SHOWN_HEX]}...: it is another model or damaged.",
                metadata={"file": self.path},
            )
        return place


def version_of(files: Sequence[ModelFile], *conditions: str) -> str:
    """Beginning of a digest over the files and whatever else decides what a vector is: with any
    of it changed, vectors are of another space."""
    parts = [file.sha256 for file in files] + list(conditions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_SHOWN_HEX]


def _places(file: ModelFile, folder: Path | None) -> Sequence[Path]:
    if folder is not None:
        return [folder / Path(file.path).name]
    # The spec of a top-level package is found without importing it.
    spec = importlib.util.find_spec(file.package)
    roots = spec.submodule_search_locations if spec is not None else None
    return [Path(root) / file.path for root in roots or ()]
