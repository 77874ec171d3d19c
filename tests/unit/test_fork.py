"""
The calls around a fork: their order, and what happens if one of them fails.
"""

from __future__ import annotations

import os

import pytest

from ..integration._waiting import run_python  # noqa: TID252 - tests is on no path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def test_a_hook_that_raises_keeps_no_other_from_its_own() -> None:
    """
    Each follower is called before a fork and in both processes, even if all of them raise, and no lock stays held.
    """
    program = """
import faulthandler, os, threading
from dflag import _fork

faulthandler.dump_traceback_later(20, exit=True)
calls = []

class Follower:
    def note(self, what):
        calls.append(what)
        raise KeyboardInterrupt

    def is_active(self): return False
    def before_fork(self): self.note("before")
    def after_fork_in_parent(self): self.note("parent")
    def after_fork_in_child(self): self.note("child")
    def resume_in_child(self): self.note("resume")

def is_free():
    asking = threading.Thread(target=_fork.followers, args=(Follower,), daemon=True)
    asking.start()
    asking.join(5)
    return not asking.is_alive()

followers = [Follower() for _ in range(3)]
for follower in followers:
    _fork.follow_forks(follower)
pid = os.fork()
if pid == 0:
    try:
        _fork.settle()
    except KeyboardInterrupt:
        pass
    os._exit(is_free() and calls == ["before"] * 3 + ["child"] * 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), is_free(), *calls)
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "1 True before before before parent parent parent\n", found.stderr
    assert "KeyboardInterrupt" in found.stderr  # which Python prints, since it can go nowhere
