"""Which files `rag ingest` sends, under which names, and what it leaves out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rag.cli.errors import CliError

KINDS = {
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".html": "text/html",
    ".htm": "text/html",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    ".epub": "application/epub+zip",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".eml": "message/rfc822",
}


@dataclass(frozen=True, slots=True)
class LocalFile:
    """`name` identifies the document in the service: a file sent under the same name replaces the former version."""

    path: Path
    name: str


@dataclass(slots=True)
class Found:
    """The files to send, and the names of files that are left out.

    `unknown`: of another kind. `links`: they lead out of the folder that was given. `special`: pipes, sockets and
    devices, whose reading might never end.
    """

    files: list[LocalFile] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)


def find(paths: Iterable[Path]) -> Found:
    """What is at and below the paths. Raises CliError if a path is missing or two files share a name."""
    found = Found()
    taken: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise CliError(f"{path} does not exist")
        for file, name in _below(path, found.links):
            if _is_special(file):
                found.special.append(name)
            elif file.suffix.lower() not in KINDS:
                found.unknown.append(name)
            elif name not in taken:
                taken[name] = file
                found.files.append(LocalFile(file, name))
            elif not taken[name].samefile(file):
                raise CliError(
                    f"{file} and {taken[name]} would both be the document {name}; ingest a folder above them"
                )
    return found


def _below(path: Path, links: list[str]) -> Iterator[tuple[Path, str]]:
    """Files with their names: relative to the working folder, or else to the folder above `path`.

    A link that is given itself is followed. One below `path` is followed only to a file below `path`. `links` gets the
    names of the others. Linked folders are not entered: what is in those below `path` is found where it is.
    """
    root = path.resolve()
    base = Path.cwd() if root.is_relative_to(Path.cwd()) else root.parent
    if not path.is_dir():
        yield path, root.relative_to(base).as_posix()
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*linked, *(name for name in files if not name.startswith("."))]):
            file = Path(folder) / name
            shown = file.relative_to(base).as_posix()
            if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(root):
                links.append(shown)
            elif name not in linked:
                yield file, shown


def _is_special(file: Path) -> bool:
    """Whether it is there, and no regular file. What is not there fails later, with its reason."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False
