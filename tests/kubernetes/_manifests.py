"""
The manifests of ``examples/kubernetes``, as rendered by kustomize.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
KUBERNETES: Final = EXAMPLES / "kubernetes"
MONITORING_KINDS: Final = Path(__file__).parent / "monitoring.yaml"

RECIPES: Final = sorted(path.parent.name for path in KUBERNETES.glob("*/configmap.yaml"))
"""The directories with an example program; the others are ``base``, ``web`` and ``monitoring``."""

KUBECTL: Final = shutil.which("kubectl")

TIMEOUT_SECONDS: Final = 60

Manifest = dict[str, Any]


def render(directory: str | Path) -> list[Manifest]:
    """
    Return the objects that ``kubectl apply -k`` would send, for one of the examples or another directory.
    """
    assert KUBECTL is not None
    done = subprocess.run(
        [KUBECTL, "kustomize", str(KUBERNETES / directory)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def render_all(scratch: Path) -> dict[str, list[Manifest]]:
    """
    Return the objects of each recipe, with a single run of kubectl.
    """
    # Relative to the real path of the directory, because kustomize accepts no absolute paths.
    bases = [os.path.relpath(KUBERNETES / recipe, scratch.resolve()) for recipe in RECIPES]
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump({"resources": bases}), encoding="utf-8")
    found: dict[str, list[Manifest]] = {recipe: [] for recipe in RECIPES}
    for each in render(scratch):
        found[each["metadata"]["labels"]["app"]].append(each)
    return found


def one(objects: list[Manifest], *kinds: str) -> Manifest:
    """
    Return the only object that has one of the kinds.
    """
    (found,) = (each for each in objects if each["kind"] in kinds)
    return found


def pod_template(objects: list[Manifest]) -> Manifest:
    """
    Return the pod template of the Deployment or CronJob.
    """
    spec = one(objects, "Deployment", "CronJob")["spec"]
    template: Manifest = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    return template
