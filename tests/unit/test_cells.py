"""
Cells that are set in one step.
"""

from __future__ import annotations

from collections import deque

import pytest

from dflag._cells import VALUE, Cell, Step, value_of

from ..integration._waiting import run_python  # noqa: TID252 - tests is on no path

PROGRAM = """
import gc
from collections import deque
from dflag._cells import VALUE, Cell, Step, value_of

tokens, cells, queue = [old := object()], [Cell(0) for _ in range(50)], deque()
seen, kept = set(), []

def look(phase, info):  # not *_, which would free a tuple of two at its end
    seen.add((tokens != [old], [value_of(cell) for cell in cells].count(1), len(queue)))
    kept.extend([(number, number) for number in range(2_100)])  # more than Python keeps for new tuples of two

step = Step([
    (list.remove, tokens, old),
    (list.append, tokens, object()),
    *((setattr, cell, VALUE, 1) for cell in cells),
    (deque.extend, queue, iter([1, 1])),
])
before = gc.get_threshold()
gc.callbacks.append(look)
gc.set_threshold(1)
step.run()
gc.set_threshold(*before)
gc.callbacks.remove(look)
look("after", None)
print(sorted(seen - {(False, 0, 0)}))  # before the step: whether one is made then depends on the version
"""


def test_a_garbage_collection_sees_no_step_half_done() -> None:
    """
    A garbage collection during a step sees all of the step or none of it.

    CPython 3.11 collects as soon as C code makes objects, and calls ``gc.callbacks`` then; signals are handled there.
    The step runs in a process of its own, where nothing else makes tuples and frees them.
    """
    result = run_python(PROGRAM)
    assert (result.stdout, result.stderr) == ("[(True, 50, 2)]\n", "")


def test_a_step_for_an_outdated_token_does_nothing() -> None:
    """
    A step whose token is outdated raises and changes nothing, neither a cell nor a queue.
    """
    tokens, cell, queue = [current := object()], Cell(0), deque[int]()
    step = Step([(list.remove, tokens, object()), (setattr, cell, VALUE, 1), (deque.append, queue, 1)])
    with pytest.raises(ValueError, match="not in"):
        step.run()
    assert (tokens, value_of(cell), list(queue)) == ([current], 0, [])
