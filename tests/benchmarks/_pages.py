"""
Inserting results into a page.
"""

from __future__ import annotations


def put(page: str, name: str, text: str) -> str:
    """
    Put *text* between the two markers *name* in *page*.

    Raises:
        ValueError: The page does not have exactly one begin marker and, after it, one end marker.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"expected {begin} and then {end}, once each")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}"
