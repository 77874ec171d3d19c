"""
``dflag write``: publish values as the kubelet does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dflag.cli._errors import CommandError
from dflag.cli._inputs import Item, Object, read
from dflag.errors import one_line
from dflag.sources._entries import is_key
from dflag.testing import ConfigMapVolume
from dflag.typing import Unreadable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Publish, or print what is wrong; status 1 when that kept anything from being published.
    """
    _refuse_foreign(options.directory)
    given = [] if options.input is None else read(options.input)
    items = {} if options.replace else _published(options.directory)
    for each in given:
        items.update(each.items)
    items.update(map(_pair, options.pairs))
    lines = [_fault(each, fault.message) for each in given for fault in each.faults]
    lines += [_key_fault(key, item) for each in given for key, item in each.items.items() if not is_key(key)]
    values: dict[str, bytes] = {}
    for key, item in items.items():
        if isinstance(item.raw, Unreadable):
            lines.append(_fault(item, f"{key}: {item.raw.reason}"))
        else:
            values[key] = item.raw.encode() if isinstance(item.raw, str) else item.raw
    ok = not lines
    if options.registry is not None:
        ok = _judge(options.registry, items, lines, secret=any(each.secret for each in given)) and ok
    out.writelines(lines)
    if ok:
        _publish(options.directory, values, out)
    return 0 if ok else 1


def _pair(argument: str) -> tuple[str, Item]:
    key, equals, value = argument.partition("=")
    if not equals or not is_key(key):
        # What stands behind the equals sign may be a secret.
        raise CommandError(f"expected KEY=VALUE with a key of [-._a-zA-Z0-9] in front, got {key[:80]!r}")
    return key, Item(os.fsencode(value), "<arguments>")


def _published(directory: str) -> dict[str, Item]:
    try:
        values = ConfigMapVolume(directory).read()
    except ValueError as error:
        raise CommandError(str(error)) from error
    return {key: Item(value, os.path.join(directory, key)) for key, value in values.items()}


def _refuse_foreign(directory: str) -> None:
    """
    Raise for a directory that is neither a volume nor empty: what stands in it is somebody else's.
    """
    path = Path(directory)
    if path.is_symlink():
        raise CommandError(f"{path}: expected a directory, found a link; name the directory that it leads to")
    if not path.is_dir():
        if os.path.lexists(path):
            raise CommandError(f"{path}: not a directory")
        return
    with os.scandir(path) as entries:
        foreign = sorted(entry.name for entry in entries if entry.name[:2] != ".." and not _is_link_of_volume(entry))
    if foreign:
        raise CommandError(f"{path}: expected a volume or an empty directory, found {foreign[0]!r} in it")


def _is_link_of_volume(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and os.readlink(entry.path) == f"..data/{entry.name}"


def _fault(where: Item | Object, message: str) -> str:
    place = "1:1" if isinstance(where, Object) else "{}:{}".format(*where.value_place()[:2])
    return f"{one_line(where.file)}:{place}: {one_line(message)}\n"


def _key_fault(key: str, item: Item) -> str:
    place = item.key_place()
    message = f"expected a key of [-._a-zA-Z0-9] that does not begin with a dot, got {key[:80]!r}"
    return f"{one_line(item.file)}:{place.line}:{place.column}: {message}\n"


def _judge(reference: str, items: Mapping[str, Item], lines: list[str], *, secret: bool) -> bool:
    """
    Hold the whole set to the flags, as a program that starts with it would.
    """
    from dflag.cli._findings import judge
    from dflag.cli._registry import load

    keys = {key: item for key, item in items.items() if is_key(key)}
    verdict = judge(load(reference), [Object("volume", "", keys, secret=secret)])
    for finding in verdict.findings:
        level = "warning: " if finding.level == "warning" else ""
        place = f"{one_line(finding.file)}:{finding.place.line}:{finding.place.column}: " if finding.file else ""
        lines.append(f"{place}{level}{finding.message}\n")
    return all(finding.level != "error" for finding in verdict.findings)


def _publish(directory: str, values: Mapping[str, bytes], out: TextIO) -> None:
    try:
        changed = ConfigMapVolume(directory).write(values)
    except FileExistsError as error:
        left = os.path.join(directory, "..data_tmp")
        if not os.path.lexists(left):
            raise
        raise CommandError(f"{left}: left behind by a writer that died; remove it and try again") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    count = "1 key" if len(values) == 1 else f"{len(values)} keys"
    out.write(f"{one_line(directory)}: {f'published {count}' if changed else 'nothing new'}\n")
