"""
absl's flags.
"""

from __future__ import annotations

from ._base import GOOD, Library, Reading


class Peer(Library):
    """
    ``DEFINE_integer`` and an attribute of ``FLAGS``, with a separate ``FlagValues``.
    """

    title = "absl"
    package = "absl-py"
    imports = "from absl import flags"
    declares = True

    def start(self, path: str) -> None:
        from absl import flags

        self._flags = flags.FlagValues()
        flags.DEFINE_integer("limit", GOOD, "What it is good for", flag_values=self._flags)
        self._flags(["program"])

    def readings(self) -> dict[str, Reading]:
        return {self.title: Reading("FLAGS.limit", {"FLAGS": self._flags})}

    def declare(self, count: int) -> object:
        from absl import flags

        values = flags.FlagValues()
        for number in range(count):
            flags.DEFINE_integer(f"flag{number}", number, "What it is good for", flag_values=values)
        return values
