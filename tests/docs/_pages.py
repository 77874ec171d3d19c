"""
Find the Python examples in a Markdown page and run them.
"""

from __future__ import annotations

import doctest
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

SKIP = "<!-- no-run -->"
"""The line before the fence of an example that works only inside another program."""

_NEEDS = r"<!-- needs: (?P<needs>\w+) -->"
"""The line before the fence of an example that runs only if the named module is installed."""

_FENCED = re.compile(
    rf"^(?:{_NEEDS}\s*\n)?(?P<skip>{re.escape(SKIP)}\s*\n)?(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    """
    One fenced block: its code, the line of the page on which the code begins, and the module that it needs, if any.
    """

    code: str
    line: int
    needs: str | None = None

    @property
    def interactive(self) -> bool:
        """Whether the example shows a session at the prompt."""
        return self.code.lstrip().startswith(">>>")


def examples(page: str) -> Iterator[Example]:
    """
    Yield the examples of a page that can run, in order.
    """
    for match in _FENCED.finditer(page):
        if not match["skip"]:
            indent = len(match["indent"])
            code = "".join(line[indent:] or "\n" for line in match["code"].splitlines(keepends=True))
            yield Example(code, page.count("\n", 0, match.start("code")) + 1, match["needs"])


def run(example: Example, module: types.ModuleType, filename: str) -> None:
    """
    Run one example in the page's namespace; errors are reported with the line numbers of the page.
    """
    if example.interactive:
        name = f"{filename}:{example.line}"
        test = doctest.DocTestParser().get_doctest(example.code, {}, name, filename, example.line - 1)
        test.globs = module.__dict__
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
    else:
        # Leading blank lines give a traceback the line numbers of the page.
        exec(compile("\n" * (example.line - 1) + example.code, filename, "exec"), module.__dict__)  # noqa: S102
