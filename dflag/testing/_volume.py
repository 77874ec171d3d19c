"""
A directory to which tests publish sets of values in the same way as the kubelet.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dflag.testing._volume_lock import DIRECTORY_MODE, locked, make_directory, refuse_link

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_MODE: Final = 0o644
_SET: Final = re.compile(r"\.\.(?!data\Z|data_tmp\Z)[^/\0]+")
"""The names that a set's directory may have: the kubelet puts it next to the link and begins its name with two dots."""

_PUBLISHED: Final = "rename ..data_tmp"
"""The step that puts a new set in place; a write that changes nothing does not have this step."""

_MAX_PATH_BYTES: Final = 4096
_MAX_NAME_BYTES: Final = 255


class ConfigMapVolume:
    """
    A directory of values, published as the kubelet publishes a ConfigMap or Secret volume.

    A new set of files is written next to the old one, and one rename puts it in place.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path:
        ...     volume = ConfigMapVolume(path)
        ...     volume.write({"rate_limit": "60"})
        ...     volume.update(rate_limit="70", loglevel="debug")
        ...     volume.read()
        True
        True
        {'loglevel': b'debug', 'rate_limit': b'70'}

    It fails like the kubelet too: a writer that dies between two of the `steps` leaves behind the files that it has
    made, and a left-over ``..data_tmp`` makes every later write fail with `FileExistsError`.

    Args:
        path: The directory of the volume; the first write makes it if it does not exist.
        legacy: Make the links of new keys before the rename, as older kubelets and some drivers do.
            The links then dangle for an instant.

    Raises:
        ValueError: *path* is empty.

    Thread safety: any number of writers and readers, in any threads and processes. A method that writes locks the
    directory while it reads and publishes, so that no writer loses the keys of another one. Without ``fcntl``,
    or on a file system that cannot lock a directory, use only one writer at a time. `steps` takes no lock.
    """

    def __init__(self, path: str | os.PathLike[str], *, legacy: bool = False) -> None:
        if not os.fspath(path):  # Path("") would be the current directory
            raise ValueError("expected the path of a directory, got ''")
        self.path: Final = Path(path)
        self._legacy = legacy

    def write(self, values: Mapping[str, str | bytes]) -> bool:
        """
        Publish *values* as the complete set.

        Args:
            values: A mapping of file names to contents. A name may contain directories (``"tls/crt"``), as in the
                ``items`` of a volume.

        Returns:
            Whether anything was published. Contents that are already in place are not written again.

        Raises:
            ValueError: The kubelet would refuse a name, or the directory does not have the kubelet's layout: it is a
                link, ``..data`` does not lead to a directory next to it, or something else is in the place of a
                key's link. Nothing was changed.
            TypeError: A name is not a text, or a value is neither text nor bytes. Nothing was changed.
            FileExistsError: An earlier writer died and left ``..data_tmp``.
        """
        contents = _contents(values)  # before the directory is made
        with locked(self.path):
            return publish(self, contents)

    def update(self, values: Mapping[str, str | bytes] | None = None, /, **more: str | bytes) -> bool:
        """
        Publish the current set with these values added or replaced; returns and raises the same as `write`.
        """
        given = {**({} if values is None else _contents(values)), **_contents(more)}
        with locked(self.path):
            return publish(self, {**self.read(), **given})

    def remove(self, *names: str) -> bool:
        """
        Publish the current set without these names; returns and raises the same as `write`.

        Raises:
            KeyError: The set does not contain one of the names.
        """
        with locked(self.path):
            values = self.read()
            for name in names:
                del values[name]
            return publish(self, values)

    def read(self) -> dict[str, bytes]:
        """
        Return the published set, in name order; empty if nothing has been published.

        The result is always one complete set, even while others write: if another set is published during the
        reading, the method reads again.

        Raises:
            ValueError: ``..data`` does not lead to a directory next to it, or the set contains links.
        """
        while True:
            # A set is deleted only after the link has moved: a link that has not moved proves that the set is whole.
            link = self._link_text()
            try:
                target = self._target()
                values = {} if target is None else dict(_read_files(self.path / target))
            except (OSError, ValueError):
                if self._link_text() == link:
                    raise
            else:
                if self._link_text() == link:
                    return values

    def steps(self, values: Mapping[str, str | bytes]) -> Iterator[str]:
        """
        Publish step by step, as an iterator that yields the name of each step once it is done.

        It is for tests of readers: stop the iteration at the step where the writer should hang or die.

            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as path:
            ...     list(ConfigMapVolume(path).steps({"a": "1"}))  # doctest: +NORMALIZE_WHITESPACE
            ['validate', 'find old', 'find stale', 'compare', 'make directory', 'write a', 'set modes',
             'make ..data_tmp', 'rename ..data_tmp', 'link a', 'delete old']

        Raises: The same as `write`.
        """
        contents = _contents(values)
        old = self._refuse_foreign(contents)
        yield "validate"
        make_directory(self.path)
        yield "find old"
        stale = _paths(self.path / old) - _with_parents(contents) if old else set()
        yield "find stale"
        changed = old is None or bool(stale) or _differs(self.path / old, contents)
        yield "compare"
        if not changed:
            if not self._legacy:
                yield from self._link(contents)
            return
        yield from self._publish(contents)
        yield from self._unlink(stale)
        if old:
            yield from _delete(self.path, old)
        yield "delete old"

    def _publish(self, contents: Mapping[str, bytes]) -> Iterator[str]:
        """
        Write the new set and put it in place; if that fails, remove it.
        """
        new = self._new_directory()
        try:
            yield "make directory"
            yield from _write_files(new, contents)
            # At this step the kubelet gives the files to the group of the pod.
            yield "set modes"
            if self._legacy:
                yield from self._link(contents)
            yield from self._commit(new)
        except OSError:
            shutil.rmtree(new)
            raise
        if not self._legacy:
            yield from self._link(contents)

    def _refuse_foreign(self, contents: Mapping[str, bytes]) -> str | None:
        """
        Return the name of the published set, after checking that a write touches only entries of the volume.

        Raises:
            ValueError: The directory does not have the kubelet's layout.
        """
        refuse_link(self.path)
        for name in sorted({path.split("/")[0] for path in contents}):
            if os.path.lexists(self.path / name) and not self._is_own_link(name):
                raise ValueError(f"{self.path / name}: expected nothing or the link ..data/{name} here; move it away")
        return self._target()

    def _is_own_link(self, name: str) -> bool:
        try:
            return os.readlink(self.path / name) == f"..data/{name}"
        except OSError:
            return False

    def _target(self) -> str | None:
        """
        Return the name of the directory that ``..data`` leads to; None if nothing has been published.

        Raises:
            ValueError: ``..data`` leads to another place, where nothing may be read, written or deleted.
        """
        link, target = self.path / "..data", self._link_text()
        if target is None:
            return None
        directory = self.path / target
        if not _SET.fullmatch(target) or directory.is_symlink() or not (directory.is_dir() or not directory.exists()):
            raise ValueError(f"{link}: expected a link to a directory ..* beside it, found one to {target!r}")
        return target if directory.exists() else None

    def _link_text(self) -> str | None:
        link = self.path / "..data"
        try:
            return os.readlink(link)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ValueError(f"{link}: expected a link as the kubelet makes it, found something else") from None

    def _new_directory(self) -> Path:
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
        while True:
            path = self.path / f"{stamp}{random.randrange(10**10)}"  # noqa: S311 - a name, not a secret
            try:
                path.mkdir(0o700)
            except FileExistsError:
                continue
            path.chmod(DIRECTORY_MODE)
            return path

    def _commit(self, new: Path) -> Iterator[str]:
        link = self.path / "..data_tmp"
        # The link exists if a writer died here. Nothing ever removes it; the kubelet does not either.
        link.symlink_to(new.name)
        yield "make ..data_tmp"
        try:
            link.rename(self.path / "..data")
        except OSError:
            link.unlink()
            raise
        yield _PUBLISHED

    def _link(self, contents: Mapping[str, bytes]) -> Iterator[str]:
        for name in sorted({path.split("/")[0] for path in contents}):
            link = self.path / name
            # The link may exist and dangle.
            if not os.path.lexists(link):
                link.symlink_to(f"..data/{name}")
                yield f"link {name}"

    def _unlink(self, stale: set[str]) -> Iterator[str]:
        for name in sorted(stale):
            # Only top-level names have links; any other entry there does not belong to the volume.
            if "/" not in name and self._is_own_link(name):
                (self.path / name).unlink()
                yield f"unlink {name}"


def _contents(values: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """
    Check values by the rules of the kubelet and of ConfigMaps, and return the contents of the files, by clean name.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"expected a mapping of names to str or bytes, got {type(values).__name__}")
    contents: dict[str, bytes] = {}
    for name, value in values.items():
        path = _clean(name)
        if path in contents:
            raise ValueError(f"{name!r}: expected each file once, but another name leads to the same file")
        contents[path] = _encoded(name, value)
    for name in contents:
        if any(parent in contents for parent in _with_parents([name]) - {name}):
            raise ValueError(f"{name!r}: expected a path whose directories are not files of the same set")
    return contents


def _encoded(name: str, value: object) -> bytes:
    # The message does not contain the value, which may be a secret. The type is checked because bytes(5) is five NULs.
    if isinstance(value, bytes):
        return bytes(value)
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str or bytes, got {type(value).__name__}; write a number as its text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        # From None, because the original error contains the value.
        raise ValueError(f"{name}: expected bytes, or a text that can be encoded as UTF-8") from None


def _clean(name: str) -> str:
    """
    Check a name by the kubelet's rules, and return it without empty and ``.`` components.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected names to be str, got {name!r}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{name!r}: expected a name that can be encoded as UTF-8") from error
    if size > _MAX_PATH_BYTES or os.path.isabs(name) or "\0" in name:
        raise ValueError(f"{name!r}: expected a relative path of at most {_MAX_PATH_BYTES} bytes")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or parts[0].startswith(".."):
        raise ValueError(f"{name!r}: expected a path that does not begin with '..' nor lead upwards")
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        raise ValueError(f"{name!r}: expected components of at most {_MAX_NAME_BYTES} bytes")
    return "/".join(parts)


def _with_parents(paths: Mapping[str, bytes] | list[str]) -> set[str]:
    return {
        "/".join(parts[:count]) for parts in (path.split("/") for path in paths) for count in range(1, len(parts) + 1)
    }


def _paths(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def _read_files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """
    Read a set, in name order; raise ValueError for a link, which would publish a file outside of the volume.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"{path}: expected a file of the published set, found a link")
        if path.is_file():
            yield path.relative_to(directory).as_posix(), path.read_bytes()


def publish(volume: ConfigMapVolume, values: Mapping[str, str | bytes]) -> bool:
    """
    Like `ConfigMapVolume.write`, for a caller that holds the lock.
    """
    return _PUBLISHED in list(volume.steps(values))


def _differs(directory: Path, contents: Mapping[str, bytes]) -> bool:
    # Only the bytes are compared: a change of modes publishes nothing.
    return any(
        not (directory / name).is_file() or (directory / name).read_bytes() != content
        for name, content in contents.items()
    )


def _write_files(directory: Path, contents: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in contents.items():
        file = directory / name
        make_directory(file.parent)
        file.write_bytes(content)
        file.chmod(_FILE_MODE)
        yield f"write {name}"


def _delete(directory: Path, name: str) -> Iterator[str]:
    """
    Delete a set through descriptors, so that no link is followed even if one replaces a directory during the deletion.
    """
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for root, directories, files, descriptor in os.fwalk(name, topdown=False, dir_fd=parent):
            prefix = root[len(name) + 1 :]
            for file in sorted(files, reverse=True):
                os.unlink(file, dir_fd=descriptor)
                yield f"delete {os.path.join(prefix, file)}"
            for inner in directories:
                _remove_directory(inner, descriptor)
        os.rmdir(name, dir_fd=parent)
    finally:
        os.close(parent)


def _remove_directory(name: str, parent: int) -> None:
    """
    Remove an empty directory, or a link to a directory, which `os.fwalk` lists as a directory.
    """
    if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
    else:
        os.rmdir(name, dir_fd=parent)
