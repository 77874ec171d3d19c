"""
A volume of many files, published and read with as little Python code as possible.

`dflag.testing.ConfigMapVolume` compares and checks files and sets modes, which takes long for a hundred thousand files.
To publish a whole new set would take far longer than the measured operation. So one key is changed in place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REVISION = "..2026_01_01_00_00_00.1"


def publish(path: str, values: Mapping[str, str]) -> None:
    """
    Make a volume with the kubelet's layout at *path*, which must not exist yet.
    """
    os.makedirs(f"{path}/{_REVISION}")
    for name, text in values.items():
        with open(f"{path}/{_REVISION}/{name}", "wb", buffering=0) as file:
            file.write(text.encode())
        os.symlink(f"..data/{name}", f"{path}/{name}")
    os.symlink(_REVISION, f"{path}/..data")


def rewrite(path: str, name: str, text: str) -> None:
    """
    Change one key of a volume in place, while nothing reads it.
    """
    with open(f"{path}/..data/{name}", "wb", buffering=0) as file:
        file.write(text.encode())


def read_raw(path: str) -> dict[str, bytes]:
    """
    Read all files of a volume, as the baseline for everything that reads a volume.
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
