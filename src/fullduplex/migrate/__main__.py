"""``python -m fullduplex.migrate [--write] [DIRECTORY]``"""

from __future__ import annotations

import argparse
import difflib
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fullduplex.migrate import others
from fullduplex.migrate.names import ROOTS
from fullduplex.migrate.python import change_python

_SYMLINK, _SUBMODULE = "120000", "160000"


def main(arguments: list[str] | None = None) -> int:
    """Show what changes, and with ``--write`` change it; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fullduplex.migrate",
        description="Move a project from Channels: change its imports and dotted paths, and list what else there is to "
        "do. Only files that git tracks are read. Nothing is written without --write.",
    )
    parser.add_argument("directory", nargs="?", default=".", type=Path, help="in a git work tree; default: this one")
    parser.add_argument("--write", action="store_true", help="write the changes that are shown otherwise")
    options = parser.parse_args(arguments)
    try:
        files = _tracked(options.directory)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        print(f"git cannot list the files of {options.directory}: {why.strip()}", file=sys.stderr)
        return 2
    if not files:
        print(f"git tracks no files in {options.directory}: the project's need `git add` first.", file=sys.stderr)
        return 2
    return _move(options.directory, files, options.write)


def _move(directory: Path, files: list[PurePosixPath], write: bool) -> int:
    roots = frozenset(root for root in ROOTS if not _is_own(root, files))
    left = [f"{root}: this project has a package of that name; its imports stay" for root in sorted(set(ROOTS) - roots)]
    files_count = places_count = 0
    for name in files:
        path = directory / name
        try:
            if name.suffix not in (".py", ".pyi"):
                left += [f"{name}:{line}: {why}" for line, why in others.notes(name, path.read_text("utf-8"))]
                continue
            source, encoding = _read(path)
            text = change_python(source, roots)
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            if name.suffix in (".py", ".pyi"):
                left.append(f"{name}:{getattr(error, 'lineno', None) or 1}: cannot be read: {error}")
            continue
        left += [f"{name}:{line}: {why}" for line, why in sorted(set(text.notes))]
        changed = text.result()
        if changed == source:
            continue
        files_count += 1
        places_count += text.edits_count
        if write:
            path.write_bytes(changed.encode(encoding))
        else:
            sys.stdout.writelines(_diff(str(name), source, changed))
    _tell(left, files_count, places_count, write)
    return 0


def _tell(left: list[str], files_count: int, places_count: int, write: bool) -> None:
    if left:
        print("\nNot changed, for you to look at:", *(f"  {entry}" for entry in left), sep="\n")
    if not files_count:
        print("\nNothing to change.")
    elif write:
        print(f"\nChanged {places_count} places in {files_count} files. See `git diff`.")
    else:
        print(f"\nWould change {places_count} places in {files_count} files. Do it with --write.")


def _tracked(directory: Path) -> list[PurePosixPath]:
    """Return the files below ``directory`` that git tracks, without links and submodules."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "-z"], cwd=directory, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
    names = {name for head, _, name in entries if head.split()[0] not in (_SYMLINK, _SUBMODULE)}
    return [PurePosixPath(name) for name in sorted(names) if (directory / name).is_file()]


def _is_own(root: str, files: list[PurePosixPath]) -> bool:
    """Whether the project has a top-level package or module of this name."""
    known = set(files)
    return any(
        (path.name == f"{root}.py" and path.parent / "__init__.py" not in known)
        or (path.name == "__init__.py" and path.parent.name == root and path.parent.parent / "__init__.py" not in known)
        for path in known
    )


def _read(path: Path) -> tuple[str, str]:
    """Return a Python file as text, its line ends as they are, and its encoding."""
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding), encoding


def _diff(name: str, before: str, after: str) -> Iterator[str]:
    old, new = (list(io.StringIO(text, newline="")) for text in (before, after))
    for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n"


if __name__ == "__main__":
    sys.exit(main())
