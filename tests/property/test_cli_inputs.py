"""
The command reads or refuses any input.
"""

from __future__ import annotations

import base64
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

import dflag
from dflag.cli._embedded import is_flag, opened
from dflag.cli._errors import CommandError
from dflag.cli._findings import validate
from dflag.cli._inputs import read_text

FLAGS = dflag.FlagRegistry("any")
FLAGS.dyn_int("rate_limit", 50)
FLAGS.dyn_json("policy", {}, yaml=True, schema={"properties": {"mode": {"enum": ["allow"]}}})
FLAGS.dyn_string_list("hosts", [])
FLAGS.dyn_string("password", "", secret=True)
FLAGS.dyn_map("ports", {}, keys="*.port", of="int")

DOCUMENT = "rate_limit: many\npolicy:\n  mode: no\n"
ENCODED = base64.b64encode(DOCUMENT.encode()).decode()

PIECES = st.sampled_from(
    [
        *(
            "apiVersion: v1\n",
            "kind: ConfigMap\n",
            "kind: Secret\n",
            "kind: List\n",
            "metadata: {name: a}\n",
            "items:\n",
        ),
        *("data: &a\n", "binaryData:\n", "stringData:\n", "  <<: *a\n", "  rate_limit: ", "  hosts: [a, 1]\n", "---\n"),
        *(
            "  app.yaml: |\n",
            "  app.json: '{}'\n",
            "    rate_limit: many\n",
            f"    {ENCODED}\n",
            f"  b.yml: {ENCODED}\n",
        ),
        *('"many"\n', "5\n", "~\n", "{mode: no}\n", '  policy: >-\n    {"mode":\n     "no"}\n', "  x.port: y\n", "- "),
        *(
            '{"apiVersion": "v1", "kind": "ConfigMap", "data": ',
            '{"rate_limit": "x"}',
            "}",
            "{",
            "]",
            '"',
            "'",
            "\t",
            "\0",
        ),
    ]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join), st.sampled_from(["in.yaml", "in.json"]))
@example(f"apiVersion: v1\nkind: Secret\ndata:\n  app.yaml: |\n    {ENCODED}\n", "in.yaml")
@example(f"apiVersion: v1\nkind: Secret\ndata:\n  app.yaml: {ENCODED}\n  {ENCODED}\n", "in.yaml")
@example("apiVersion: v1\nkind: ConfigMap\nbinaryData:\n  app.yaml: |\n    *\n", "in.yaml")
def test_every_input_is_read_or_refused(text: str, name: str) -> None:
    """Any text gives findings with a place in the text, or a CommandError, and neither shows a Secret's content."""
    data = text.encode(errors="surrogatepass")
    lines = text.count("\n") + text.count("\r") + 1
    refused = ""
    try:
        objects = opened(partial(is_flag, FLAGS), read_text(data, name).objects, ["hosts"])
        for finding in validate(FLAGS, objects, strict=True).findings:
            assert 1 <= finding.place.line <= lines
            assert finding.place.column >= 1
            assert finding.message.isprintable()
            assert ENCODED not in finding.message
    except CommandError as error:
        refused = str(error)
    assert ENCODED not in refused
