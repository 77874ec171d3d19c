"""
Bytes.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from dflag._kinds._declared import Demands
    from dflag._kinds.shapes import Shape


class BytesKind(Kind[bytes]):
    """
    Bytes, written in base64 where only text is possible.
    """

    __slots__ = ()
    name = "bytes"
    binary = True
    expected = "bytes"

    def parse(self, text: str) -> bytes:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise Problem("bytes in base64, padded", str(error)) from None

    def convert(self, value: object) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise Problem(self.expected)
        return memoryview(value).tobytes()  # a subclass may return anything from __bytes__

    def portable(self, value: bytes) -> object:  # noqa: ARG002 - the same for any value
        raise Problem("a value other than bytes, which no other flag system has")

    def format(self, value: bytes) -> str:
        return binascii.b2a_base64(value, newline=False).decode("ascii")

    def native(self, value: bytes) -> str:
        return value.decode()

    def _shape(self, demands: Demands) -> Shape:
        from dflag._kinds.shapes import Binary, sizes

        return Binary(*sizes(demands, "Length"))


BYTES: Final = BytesKind()
