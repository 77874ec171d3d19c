"""
A directory that is published to as the kubelet does.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DIRECTORY_MODE: Final = 0o755
_FILE_MODE: Final = 0o644
_MAX_PATH_CHARACTERS: Final = 4096
_MAX_NAME_CHARACTERS: Final = 255


class ConfigMapVolume:
    """
    A directory that is published to as the kubelet publishes a ConfigMap or Secret volume.

    A new set of files is written beside the old one, and one rename puts it in place.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path:
        ...     volume = ConfigMapVolume(path)
        ...     volume.write({"rate_limit": "60"})
        ...     volume.update(rate_limit="70", loglevel="debug")
        ...     volume.read()
        True
        True
        {'loglevel': b'debug', 'rate_limit': b'70'}

    Also what goes wrong is as with the kubelet: a writer that dies between two of the `steps` leaves what it had made,
    and a left-over ``..data_tmp`` makes every later write fail with `FileExistsError`.

    Args:
        path: The directory of the volume; the first write makes it when it is not there.
        legacy: Make the links of new keys before the rename, as older kubelets and some drivers do:
            they dangle for an instant.

    Thread safety: one writer at a time; any number of readers.
    """

    def __init__(self, path: str | os.PathLike[str], *, legacy: bool = False) -> None:
        self.path: Final = Path(path)
        self._legacy = legacy

    def write(self, values: Mapping[str, str | bytes]) -> bool:
        """
        Publish *values* as the complete set.

        Args:
            values: File names to contents; a name may have directories (``"tls/crt"``), as ``items`` allows.

        Returns:
            Whether there was anything to publish: the same contents again write nothing.

        Raises:
            ValueError: A name is one that the kubelet refuses; nothing was touched.
            FileExistsError: An earlier writer died and left ``..data_tmp``.
        """
        before = self._target()
        for _ in self.steps(values):
            pass
        return self._target() != before

    def update(self, values: Mapping[str, str | bytes] | None = None, /, **more: str | bytes) -> bool:
        """
        Publish the present set with these values in it; returns and raises as `write`.
        """
        return self.write({**self.read(), **(values or {}), **more})

    def remove(self, *names: str) -> bool:
        """
        Publish the present set without these; returns and raises as `write`.

        Raises:
            KeyError: There is no such name.
        """
        values = self.read()
        for name in names:
            del values[name]
        return self.write(values)

    def read(self) -> dict[str, bytes]:
        """
        Give the published set, in name order; empty when nothing was published.
        """
        target = self._target()
        if target is None:
            return {}
        data = self.path / target
        files = (file for file in data.rglob("*") if file.is_file())
        return {file.relative_to(data).as_posix(): file.read_bytes() for file in sorted(files)}

    def steps(self, values: Mapping[str, str | bytes]) -> Iterator[str]:
        """
        Publish step by step: each item names the step that has just been done.

        For tests of readers: leave the iterator where the writer is to freeze or to die.

            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as path:
            ...     list(ConfigMapVolume(path).steps({"a": "1"}))  # doctest: +NORMALIZE_WHITESPACE
            ['validate', 'find old', 'find stale', 'compare', 'make directory', 'write a', 'set modes',
             'make ..data_tmp', 'rename ..data_tmp', 'link a', 'delete old']

        Raises: As `write`.
        """
        contents = _contents(values)
        yield "validate"
        _make_directory(self.path)
        old = self._target()
        yield "find old"
        stale = _paths(self.path / old) - _with_parents(contents) if old else set()
        yield "find stale"
        changed = old is None or bool(stale) or _differs(self.path / old, contents)
        yield "compare"
        if not changed:
            if not self._legacy:
                yield from self._link(contents)
            return
        new = self._new_directory()
        yield "make directory"
        yield from _write_files(new, contents)
        # Here the kubelet hands the files to the group of the pod.
        yield "set modes"
        if self._legacy:
            yield from self._link(contents)
        yield from self._commit(new)
        if not self._legacy:
            yield from self._link(contents)
        yield from self._unlink(stale)
        if old:
            yield from _delete(self.path / old)
        yield "delete old"

    def _target(self) -> str | None:
        try:
            return os.readlink(self.path / "..data")
        except FileNotFoundError:
            return None

    def _new_directory(self) -> Path:
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
        while True:
            path = self.path / f"{stamp}{random.randrange(10**10)}"  # noqa: S311 - a name, not a secret
            try:
                path.mkdir(0o700)
            except FileExistsError:
                continue
            path.chmod(_DIRECTORY_MODE)
            return path

    def _commit(self, new: Path) -> Iterator[str]:
        link = self.path / "..data_tmp"
        try:
            link.symlink_to(new.name)
        except FileExistsError:
            # Of a writer that died here. Nobody ever removes it, neither does the kubelet.
            shutil.rmtree(new)
            raise
        yield "make ..data_tmp"
        link.rename(self.path / "..data")
        yield "rename ..data_tmp"

    def _link(self, contents: Mapping[str, bytes]) -> Iterator[str]:
        for name in sorted({path.split("/")[0] for path in contents}):
            link = self.path / name
            # The link may be there and dangle.
            if not os.path.lexists(link):
                link.symlink_to(f"..data/{name}")
                yield f"link {name}"

    def _unlink(self, stale: set[str]) -> Iterator[str]:
        for name in sorted(stale):
            # Only names at the top have links.
            if "/" not in name and os.path.lexists(self.path / name):
                (self.path / name).unlink()
                yield f"unlink {name}"


def _contents(values: Mapping[str, str | bytes]) -> dict[str, bytes]:
    contents = {
        _clean(name): value.encode() if isinstance(value, str) else bytes(value) for name, value in values.items()
    }
    for name in contents:
        if any(parent in contents for parent in _with_parents([name]) - {name}):
            raise ValueError(f"{name!r}: expected no other file where its directory has to be")
    return contents


def _clean(name: str) -> str:
    """
    Check a name by the kubelet's rules, and give it without empty and ``.`` components.
    """
    if len(name) > _MAX_PATH_CHARACTERS or os.path.isabs(name) or "\0" in name:
        raise ValueError(f"{name!r}: expected a relative path of at most {_MAX_PATH_CHARACTERS} characters")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or parts[0].startswith(".."):
        raise ValueError(f"{name!r}: expected a path that does not begin with '..' nor lead upwards")
    if any(len(part) > _MAX_NAME_CHARACTERS for part in parts):
        raise ValueError(f"{name!r}: expected components of at most {_MAX_NAME_CHARACTERS} characters")
    return "/".join(parts)


def _with_parents(paths: Mapping[str, bytes] | list[str]) -> set[str]:
    return {
        "/".join(parts[:count]) for parts in (path.split("/") for path in paths) for count in range(1, len(parts) + 1)
    }


def _paths(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def _differs(directory: Path, contents: Mapping[str, bytes]) -> bool:
    # Bytes alone count: a change of modes publishes nothing.
    return any(
        not (directory / name).is_file() or (directory / name).read_bytes() != content
        for name, content in contents.items()
    )


def _write_files(directory: Path, contents: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in contents.items():
        file = directory / name
        _make_directory(file.parent)
        file.write_bytes(content)
        file.chmod(_FILE_MODE)
        yield f"write {name}"


def _make_directory(path: Path) -> None:
    """
    Make a directory and its parents with the kubelet's mode, which mkdir alone leaves to the umask.
    """
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(_DIRECTORY_MODE)


def _delete(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*"), reverse=True):
        name = path.relative_to(directory).as_posix()
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
            yield f"delete {name}"
    directory.rmdir()
