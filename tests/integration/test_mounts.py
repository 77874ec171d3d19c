"""
V23: real mounts by subPath, in a mount namespace of their own.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

UNSHARE = ["unshare", "--map-root-user", "--mount"]
PROGRAM = """
import logging, sys
import dflag

logging.basicConfig(format="%(levelname)s %(message)s")
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)
with dflag.Updater.setup(flags, sys.argv[1]) as updater:
    updater.stop()
    updater.start()
    print(flags.explain("rate")[0].text, updater.status().sources[0].not_live)
"""

PUBLISH = 'import sys; from dflag.testing import ConfigMapVolume; ConfigMapVolume(sys.argv[1]).write({"rate": "5"})'


def _has_namespaces() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(
    not _has_namespaces(), reason="takes mount namespaces, which this machine does not allow"
)


def _run(*mounts: str, path: Path) -> subprocess.CompletedProcess[str]:
    """
    Run the program over *path* after the mounts were made.
    """
    script = " && ".join([*mounts, 'exec "$0" -c "$1" "$2"'])
    command = [*UNSHARE, "sh", "-c", script, sys.executable, PROGRAM, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * DEADLINE_SECONDS, check=True)


def test_a_sub_path_mount_is_warned_of_once(volume: ConfigMapVolume, tmp_path: Path) -> None:
    """
    A key mounted by subPath is read, and its one warning says that changes cannot be followed, and why.
    """
    volume.write({"rate": "5"})
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "rate").touch()
    done = _run(f"mount --bind {volume.path}/rate {mounted}/rate", path=mounted)

    assert done.stdout.startswith("5 rate in it is mounted by subPath")
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"WARNING cannot follow changes of {mounted}: rate in it is mounted by subPath")


def test_a_whole_volume_is_not_warned_of(volume: ConfigMapVolume, tmp_path: Path) -> None:
    """
    A volume that is mounted as a whole counts as live and logs no warning.
    """
    volume.write({"rate": "5"})
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    done = _run(f"mount --bind {volume.path} {mounted}", path=mounted)

    assert (done.stdout, done.stderr) == ("5 None\n", "")


def test_the_volume_of_a_secret_makes_secrets(tmp_path: Path) -> None:
    """
    A value from a volume in memory, as the kubelet mounts a Secret, is masked.
    """
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    done = _run(f"mount -t tmpfs tmpfs {mounted}", f"{sys.executable} -c '{PUBLISH}' {mounted}", path=mounted)

    assert (done.stdout, done.stderr) == ("****** None\n", "")
