"""
The table of results in Markdown, with one row per library and one column per fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


COLUMNS = {
    "swaps": "swaps seen, p50",
    "wrong_type": "wrong type",
    "bad_syntax": "broken syntax",
    "empty_file": "empty file",
    "key_removed": "option removed",
    "file_gone": "file gone",
    "volume_gone": "volume gone",
    "fork": "forked child",
    "idle": "idle CPU a minute",
    "read": "a read",
}


def table(document: Mapping[str, Any]) -> str:
    """
    Return the results as a table with a legend.
    """
    rows = [f"| library | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for library in document["libraries"]:
        cells = [cell(fault, library["results"].get(fault)) for fault in COLUMNS]
        name = library["title"] + (", no watcher (reload by hand)" if library["by_hand"] else "")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *_legend(document)])


def cell(fault: str, result: Mapping[str, Any] | None) -> str:
    """
    Return one result in words, or the reason why there is none.
    """
    if result is None:
        return "not run"
    if result["outcome"] != "ran":
        reason = result.get("reason")
        return f"{result['outcome']}: {_escaped(reason)}" if reason else f"**{result['outcome']}**"
    return {"swaps": _swaps, "fork": _fork, "idle": _idle, "read": _read}.get(fault, _value)(result)


def _swaps(result: Mapping[str, Any]) -> str:
    seen = f"{result['seen']} of {result['of']}"
    seen = seen if result["seen"] == result["of"] else f"**{seen}**"
    return seen if result["p50"] is None else f"{seen}, {_number(result['p50'] * 1000)} ms"


def _value(result: Mapping[str, Any]) -> str:
    reports = ", ".join(result["reports"]) or "not logged"
    after = "" if result["recovers"] else "; **the next good value is missed**"
    return f"{_escaped(result['value'])} ({reports}){after}"


def _fork(result: Mapping[str, Any]) -> str:
    if isinstance(result["child"], str):
        child = f"**{result['child']}**"
    elif not result["child"]:
        child = "**stale**"
    else:
        child = f"follows after `{result['call']}`" if result["call"] else "follows"
    return child if result["parent"] else f"{child}; **parent stale**"


def _idle(result: Mapping[str, Any]) -> str:
    return f"{_number(result['cpu_per_minute'] * 1000)} ms"


def _read(result: Mapping[str, Any]) -> str:
    return f"{_number(result['seconds'] * 1e9)} ns"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _legend(document: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{library['title']} {library['version']}" for library in document["libraries"])
    return [
        f"Measured with Python {document['python']} on {document['machine']}, {document['cores']} cores. {versions}.",
        "",
        "Each cell is a separate process that follows an option in a volume, which is published as the kubelet does",
        "it. *kept*: the last good value stays. *default*: the value that the code gives. Any other word is the value",
        "that the program reads. In parentheses, how a program can notice: *log* (a warning or worse), *stderr*, an",
        "exception of the reload, or the call that returns the error. A good value follows each harm; a cell says so",
        "if that value is missed. If the file holds one option, *option removed* and *file gone* are the same. Ten",
        "swaps are published, each after the one before it was seen or given up. The latency is the time from just",
        "before the rename until a loop that reads once a millisecond sees the value.",
    ]
