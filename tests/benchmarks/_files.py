"""
A volume of many files, published and read as plainly as Python can.

`dflag.testing.ConfigMapVolume` compares, checks and sets modes, which for a hundred thousand files takes long, and a
publication anew would drown what is measured: so one key changes by its bytes in place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REVISION = "..2026_01_01_00_00_00.1"


def publish(path: str, values: Mapping[str, str]) -> None:
    """
    Make a volume in the kubelet's layout at *path*, where nothing is yet.
    """
    os.makedirs(f"{path}/{_REVISION}")
    for name, text in values.items():
        with open(f"{path}/{_REVISION}/{name}", "wb", buffering=0) as file:
            file.write(text.encode())
        os.symlink(f"..data/{name}", f"{path}/{name}")
    os.symlink(_REVISION, f"{path}/..data")


def rewrite(path: str, name: str, text: str) -> None:
    """
    Change one key of a volume that nobody reads just now.
    """
    with open(f"{path}/..data/{name}", "wb", buffering=0) as file:
        file.write(text.encode())


def read_raw(path: str) -> dict[str, bytes]:
    """
    Read all files of a volume: the floor for everything that reads one.
    """
    values = {}
    directory = os.open(f"{path}/..data", os.O_RDONLY)
    try:
        for name in os.listdir(directory):
            descriptor = os.open(name, os.O_RDONLY, dir_fd=directory)
            try:
                values[name] = os.read(descriptor, 1 << 16)
            finally:
                os.close(descriptor)
    finally:
        os.close(directory)
    return values
