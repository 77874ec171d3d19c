"""
``dflag write``: publish values as the kubelet does.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dflag._raw import Text, Unreadable
from dflag.cli._errors import CommandError
from dflag.cli._inputs import read
from dflag.cli._items import Item, Object
from dflag.errors import one_line
from dflag.sources._entries import is_key
from dflag.testing import ConfigMapVolume
from dflag.testing._volume import publish
from dflag.testing._volume_lock import locked, refuse_link

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from dflag._formats.base import Place
    from dflag._registry import FlagRegistry


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Publish the values and print any problems; return 1 if these prevent publishing.
    """
    _check_path(options.directory)
    registry = None if options.registry is None else _load(options.registry)
    given = [] if options.input is None else read(options.input, may_be_empty=not options.replace)
    pairs = dict(map(_pair, options.pairs))
    items = {key: item for each in given for key, item in (*each.items.items(), *each.hidden.items())} | pairs
    for key in options.remove:
        if key in items:
            raise CommandError(f"expected a key to publish or to remove, got both for {key[:80]!r}")
    # Reading and importing may take long, so the lock is taken only now. From here on other writers wait.
    with locked(Path(options.directory)):
        _refuse_foreign(options.directory)
        return _rewrite(options, registry, given, _kept(options) | items, out)


def _rewrite(
    options: argparse.Namespace,
    registry: FlagRegistry | None,
    given: Sequence[Object],
    items: Mapping[str, Item],
    out: TextIO,
) -> int:
    """
    Check a complete set of values, and publish it if there are no errors.
    """
    lines = [line for each in given for line in _faults(each, registry)]
    items = {key: _as_text(registry, key, item) for key, item in items.items()}
    values: dict[str, bytes] = {}
    for key, item in items.items():
        if not isinstance(item.raw, Unreadable):
            values[key] = item.raw.encode() if isinstance(item.raw, str) else item.raw
    ok = not lines
    if registry is not None:
        kept = {key: item for key, item in items.items() if key in values and is_key(key)}
        volume = Object("volume", "", kept, secret=any(each.secret for each in given), files=True)
        ok = _validate(registry, volume, options.key, lines) and ok
    out.writelines(lines)
    if ok:
        _publish(options.directory, values, out)
    return 0 if ok else 1


def _as_text(registry: FlagRegistry | None, key: str, item: Item) -> Item:
    """
    Return the item with the text that its file will hold, which is what programs read and what must be checked.

    Without a registry this is the value's text as written, from which a JSON flag may read another value.
    """
    if not isinstance(item.raw, Text):
        return item
    return item.with_text(str(item.raw) if registry is None else _text_for(registry, key, item.raw))


def _text_for(registry: FlagRegistry, key: str, raw: Text) -> str:
    from dflag._flags import pipeline_of
    from dflag.cli._findings import flags_of, kind_of

    flag = next(iter(flags_of(registry, key)), None)
    if flag is None:
        return str(raw)
    kind = kind_of(registry, key, flag.name)
    return kind.text_of(raw) if kind.is_map or pipeline_of(flag).input_mutator is None else str(raw)


def _load(reference: str) -> FlagRegistry:
    from dflag.cli._registry import load  # imports the core, which is not needed without a registry

    return load(reference)


def _pair(argument: str) -> tuple[str, Item]:
    key, equals, value = argument.partition("=")
    if not equals or not is_key(key):
        # The text after the equals sign may be a secret.
        raise CommandError(f"expected KEY=VALUE with a key of [-._a-zA-Z0-9] in front, got {key[:80]!r}")
    return key, Item(os.fsencode(value), "<arguments>")


def _kept(options: argparse.Namespace) -> dict[str, Item]:
    """
    Return the published values that stay.

    Raises:
        CommandError: A key to remove is not published, most likely because it is misspelt.
    """
    if options.replace and not options.remove:
        return {}
    items = _published(options.directory)
    removed = set(options.remove)
    for key in sorted(removed):
        if key not in items:
            raise CommandError(f"{options.directory}: expected a published key to remove, found no {key[:80]!r}")
    return {} if options.replace else {key: item for key, item in items.items() if key not in removed}


def _published(directory: str) -> dict[str, Item]:
    with _naming(directory):
        values = ConfigMapVolume(directory).read()
    return {key: Item(value, os.path.join(directory, key)) for key, value in values.items()}


@contextmanager
def _naming(directory: str) -> Iterator[None]:
    """
    Add the directory to an error without a file name, as of a full device, which would seem to be of standard output.
    """
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        if error.filename:
            raise
        raise CommandError(f"{directory}: {error.strerror}") from error


def _check_path(directory: str) -> None:
    """
    Raise CommandError for a path that is empty, or that exists and is not a directory; a link is refused too.
    """
    if not directory:  # from a variable that is not set; Path would take it for the current directory
        raise CommandError("expected the path of a directory, got ''")
    path = Path(directory)
    try:
        refuse_link(path)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if os.path.lexists(path) and not path.is_dir():
        raise CommandError(f"{path}: not a directory")


def _refuse_foreign(directory: str) -> None:
    """
    Raise CommandError for a directory that is neither a volume nor empty, because its contents belong to somebody else.
    """
    path = Path(directory)
    with os.scandir(path) as entries:
        foreign = sorted(entry.name for entry in entries if entry.name[:2] != ".." and not _is_link_of_volume(entry))
    if foreign:
        raise CommandError(f"{path}: expected a volume or an empty directory, found {foreign[0]!r} in it")


def _is_link_of_volume(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and os.readlink(entry.path) == f"..data/{entry.name}"


def _faults(given: Object, registry: FlagRegistry | None) -> Iterator[str]:
    """
    Yield a message for each fault that prevents an object from being published.
    """
    from dflag.cli._findings import message_of

    for fault in given.faults:
        yield _line(given.file, fault.place, fault.message if registry is None else message_of(registry, fault))
    known = {fault.key for fault in given.faults}
    for key, item in given.items.items():
        if not is_key(key):
            expected = "expected a key of [-._a-zA-Z0-9] that does not begin with a dot"
            yield _line(item.file, item.key_place(), f"{expected}, got {key[:80]!r}")
        elif isinstance(item.raw, Unreadable) and key not in known:
            yield _line(item.file, item.value_place(), f"{key}: {item.raw.reason}")


def _line(file: str, place: Place, message: str) -> str:
    return f"{one_line(file)}:{place.line}:{place.column}: {one_line(message)}\n"


def _validate(registry: FlagRegistry, volume: Object, keys: Sequence[str], lines: list[str]) -> bool:
    """
    Check the complete set against the flags as a starting program would; return whether it has no errors.
    """
    from dflag.cli._checking import check_objects
    from dflag.cli._embedded import is_flag, opened

    findings = check_objects(registry, opened(partial(is_flag, registry), [volume], keys))
    for finding in findings:
        level = "warning: " if finding.level == "warning" else ""
        place = f"{one_line(finding.file)}:{finding.place.line}:{finding.place.column}: " if finding.file else ""
        lines.append(f"{place}{level}{finding.message}\n")
    return all(finding.level != "error" for finding in findings)


def _publish(directory: str, values: Mapping[str, bytes], out: TextIO) -> None:
    try:
        with _naming(directory):
            changed = publish(ConfigMapVolume(directory), values)
    except FileExistsError as error:
        left = os.path.join(directory, "..data_tmp")
        if not os.path.lexists(left):
            raise
        raise CommandError(f"{left}: left by a writer that died; remove it and try again") from error
    count = "1 key" if len(values) == 1 else f"{len(values)} keys"
    out.write(f"{one_line(directory)}: {f'published {count}' if changed else 'nothing new'}\n")
