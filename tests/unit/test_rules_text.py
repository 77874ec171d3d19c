from __future__ import annotations

import datetime
import hashlib
import textwrap
import time
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from dflag._formats import documents
from dflag._rules_text import MAX_BYTES, MAX_RULES, Rule, RuleFault, parse_rules, percentage
from dflag.sources.file import FileSource
from dflag.typing import Text, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

FROM = "from: 2026-11-28T10:00:00Z"
STAGED = f"name: a, {FROM}, over: 30m"


def good(text: str) -> Rule:
    """
    Return the one rule of a text without faults.
    """
    read = parse_rules(textwrap.dedent(text))
    assert read.faults == ()
    (rule,) = read.rules
    return rule


def bad(text: str) -> RuleFault:
    """
    Return the one fault of a text without a good rule.
    """
    read = parse_rules(textwrap.dedent(text))
    assert read.rules == ()
    (fault,) = read.faults
    return fault


class TestRules:
    """
    What the parser reads from a good rule.
    """

    def test_reads_every_key(self) -> None:
        """A rule has the value of every key that is written in it, and its times are in UTC."""
        rule = good("""
            - name: limits-november
              when: {zone: [eu-1, eu-2], version: 1.*}
              unless: {node: spot-*}
              from: 2026-11-28T11:00:00+01:00
              until: 2026-12-01T00:00:00Z
              of: node
              steps: [5%, 25.5%, 100%]
              every: 1h
              bake: 15m
              set: {rate_limit: 120, new_path: true}
        """)
        assert rule.name == "limits-november"
        assert rule.is_named
        assert rule.when == {"zone": ("eu-1", "eu-2"), "version": ("1.*",)}
        assert rule.unless == {"node": ("spot-*",)}
        assert rule.start == datetime.datetime(2026, 11, 28, 10, tzinfo=UTC)
        assert rule.start.tzinfo is UTC
        assert rule.until == datetime.datetime(2026, 12, 1, tzinfo=UTC)
        assert rule.of == "node"
        assert rule.over is None
        assert rule.steps == (214748365, 1095216661, 2**32)
        assert rule.every == timedelta(hours=1)
        assert rule.bake == timedelta(minutes=15)
        assert rule.values == {"rate_limit": "120", "new_path": "true"}

    def test_has_defaults(self) -> None:
        """A rule that only has `set` is for all processes at any time, and is named by its place in the list."""
        rule = good("- set: {rate_limit: 80}")
        assert (rule.name, rule.is_named, rule.number) == ("rule 1", False, 1)
        assert (rule.when, rule.unless, rule.start, rule.until) == ({}, {}, None, None)
        assert (rule.of, rule.over, rule.steps, rule.every, rule.bake) == ("pod", None, (), None, None)
        assert (rule.by, rule.keys, rule.share) == (None, None, None)

    def test_reads_keyed_rules(self) -> None:
        """A keyed rule holds one key, several keys, none, or a share of all keys."""
        assert good("- {by: tenant, is: acme, set: {a: 1}}").keys == ("acme",)
        assert good("- {by: tenant, is: [acme, initech], set: {a: 1}}").keys == ("acme", "initech")
        assert good("- {by: tenant, is: [], set: {a: 1}}").keys == ()
        assert good("- {by: tenant, set: {a: 1}}").keys is None
        assert good("- {name: a, by: tenant, share: 10%, set: {a: 1}}").share == 429496730
        steps = good(f"- {{name: a, by: tenant, {FROM}, steps: [1%, 2%], every: 1h, set: {{a: 1}}}}")
        assert steps.steps == (42949673, 85899346)

    def test_reads_texts_and_no_yaml(self) -> None:
        """A scalar that YAML would read as a bool, an octal number or a time is read as the text that is written."""
        rule = good("- {by: no, is: [on, 012, 1_000, 2026-11-28, 1:30, 1e3], set: {a: 0o17, b: yes, c: 1.10}}")
        assert rule.by == "no"
        assert rule.keys == ("on", "012", "1_000", "2026-11-28", "1:30", "1e3")
        assert rule.values == {"a": "0o17", "b": "yes", "c": "1.10"}
        assert {type(value) for value in rule.values.values()} == {str}

    def test_takes_collections_natively(self) -> None:
        """A list or a mapping in `set` is read as a native value together with its text, as in a document."""
        raw = good("- set: {policy: {mode: no, limits: [1, 2.5, ~, '3', 012]}}").values["policy"]
        assert isinstance(raw, Text)
        assert raw.native == {"mode": "no", "limits": [1, 2.5, None, "3", 12]}
        assert raw == '{"limits":[1,2.5,null,"3",12],"mode":"no"}'

    def test_quotes_do_not_count(self) -> None:
        """A scalar is read as its text, in quotes or as a block too; null in quotes is a text."""
        rule = good("- set:\n    a: 'x'\n    b: \"x\"\n    c: |-\n      x\n    d: x\n    e: 'null'\n    f: ''\n")
        assert rule.values == {"a": "x", "b": "x", "c": "x", "d": "x", "e": "null", "f": ""}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " \n",
            "# nothing\n",
            "---\n",
            "--- # nothing\n...\n",
            "null",
            "~",
            "Null",
            "[]",
            "[ ]\n",
            b"",
            "\ufeff[]",
        ],
    )
    def test_may_be_none(self, text: str | bytes) -> None:
        """An empty text, a comment, null and an empty list hold no rules and no fault."""
        read = parse_rules(text)
        assert (read.rules, read.faults, read.is_readable) == ((), (), True)

    def test_reads_bytes(self) -> None:
        """Rules are read from bytes in UTF-8, with and without a byte order mark."""
        for mark in (b"", b"\xef\xbb\xbf"):
            assert [rule.values for rule in parse_rules(mark + b"- set: {a: \xc3\xa9}").rules] == [{"a": "é"}]

    def test_reads_json(self) -> None:
        """JSON is read with tabs and escaped surrogate pairs, and its numbers are read as they are written."""
        read = parse_rules('[\n\t{"by": "tenant", "is": ["\\ud83d\\ude00", 12, true], "set": {"a": 1.0, "b": [1]}}]')
        assert read.faults == ()
        assert read.rules[0].keys == ("\U0001f600", "12", "true")
        assert read.rules[0].values == {"a": "1.0", "b": "[1]"}

    def test_goes_on_after_a_bad_rule(self) -> None:
        """A bad rule is refused whole; the rules around it are read and keep their places in the list."""
        read = parse_rules("- set: {a: 1}\n- form: x\n  set: {a: 2}\n- set: {a: 3}\n")
        assert [(rule.name, rule.number) for rule in read.rules] == [("rule 1", 1), ("rule 3", 3)]
        assert [(fault.rule, fault.number, fault.line, fault.column) for fault in read.faults] == [("rule 2", 2, 2, 3)]
        assert read.is_readable


class TestContent:
    """
    When two rules are the same.
    """

    def test_is_what_is_parsed(self) -> None:
        """The content of a rule does not depend on comments, the order of keys, quotes or its place in the list."""
        one = good(f"""
            - name: a
              {FROM}
              over: 30m
              when: {{zone: eu-1, node: b}}
              set: {{x: 1, y: [1, "a"]}}
        """)
        other = parse_rules("""
            - set: {z: 1}
            - set: {"y": ['1', a], 'x': "1"}  # comment
              when: {node: ["b"], zone: [eu-1]}
              of: pod
              over: 1800s
              from: 2026-11-28T12:00:00+02:00
              "name": a
        """).rules[1]
        assert one.content != other.content  # 1 in a list is a number and not a text
        assert one.content == good(f"- {{{STAGED}, when: {{node: b, zone: eu-1}}, set: {{y: [1, a], x: '1'}}}}").content
        assert (
            one.content
            == good(f"- {{of: pod, {STAGED}, when: {{node: b, zone: [eu-1]}}, set: {{y: [1, a], x: 1}}}}").content
        )

    def test_of_a_rule_without_a_name_is_the_same_anywhere(self) -> None:
        """A rule without a name has the same content at every place in the list."""
        first, second = parse_rules("- set: {a: 1}\n- set: {a: 1}\n").rules
        assert first.content == second.content
        assert first.name != second.name

    @pytest.mark.parametrize(
        "change",
        [
            "name: b, from: 2026-11-28T10:00:00Z, over: 30m, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:01Z, over: 30m, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 31m, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, bake: 1s, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, of: node, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, when: {zone: a}, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, unless: {zone: a}, set: {x: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, set: {x: 2}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, set: {x: 1, y: 1}",
            "name: a, from: 2026-11-28T10:00:00Z, over: 30m, set: {x: [1]}",
        ],
    )
    def test_tells_rules_apart(self, change: str) -> None:
        """Rules that differ in any part have different contents."""
        assert good(f"- {{{STAGED}, set: {{x: 1}}}}").content != good(f"- {{{change}}}").content

    @pytest.mark.parametrize(
        "parts",
        [
            ("by: tenant", "by: zone", "by: tenant, is: [a]", "by: tenant, is: [b]"),
            ("by: tenant", "by: tenant, share: 10%", "by: tenant, share: 20%"),
            ("steps: [10%], every: 30m", "steps: [20%], every: 30m", "steps: [10%], every: 31m"),
            ("until: 2026-11-28T10:00:00Z", "until: 2026-11-28T10:00:01Z"),
        ],
    )
    def test_tells_keys_shares_steps_and_ends_apart(self, parts: tuple[str, ...]) -> None:
        """Rules that differ only in their keys, shares, steps or ends have different contents."""
        start = "" if "by" in parts[0] else "from: 2026-11-28T08:00:00Z, "
        assert len({good(f"- {{name: a, {start}{part}, set: {{x: 1}}}}").content for part in parts}) == len(parts)

    def test_is_small(self) -> None:
        """The content of a rule with 1,000 keys has fewer than 100 characters, because a process may remember it."""
        many = ", ".join(f"tenant-{number}" for number in range(1000))
        assert len(good(f"- {{by: tenant, is: [{many}], set: {{x: 1}}}}").content) < 100

    def test_tells_a_native_value_from_its_text(self) -> None:
        """A rule that sets a list has another content than one that sets the text of the list."""
        assert good("- set: {x: [1]}").content != good("- set: {x: '[1]'}").content


class TestPercentages:
    """
    Shares and steps.
    """

    @pytest.mark.parametrize(
        ("text", "threshold"),
        [
            ("0%", 0),
            ("0.000001%", 43),
            ("1%", 42949673),
            ("10%", 429496730),
            ("33.333333%", 1431655752),
            ("50%", 2**31),
            ("100%", 2**32),
            ("100.000000%", 2**32),
            ("007%", 300647711),
        ],
    )
    def test_are_thresholds(self, text: str, threshold: int) -> None:
        """N% is read as the least threshold that is at least N hundredths of 2**32, without rounding errors."""
        assert good(f"- {{name: a, by: t, share: {text}, set: {{a: 1}}}}").share == threshold

    @pytest.mark.parametrize(
        "text", ["100.000001%", "101%", "-1%", "1.0000001%", "%", "1 %", "1.%", ".5%", "1e1%", "٣%"]
    )
    def test_refuses_others(self, text: str) -> None:
        """Anything but N% from 0 to 100 with up to 6 decimals is refused, with an example."""
        fault = bad(f"- {{name: a, by: t, share: '{text}', set: {{a: 1}}}}")
        assert fault.message.startswith(
            "expected a percentage from 0% to 100% with at most 6 decimals, such as 2.5%, got"
        )
        assert text in fault.message

    def test_asks_for_the_sign(self) -> None:
        """A number without a percent sign, which may mean a fraction, is refused and the message asks for the sign."""
        fault = bad("- {name: a, by: t, share: 10, set: {a: 1}}")
        assert fault.message == "expected a percentage with its sign, such as 10%, got '10'"

    @pytest.mark.parametrize("text", ["0%", "0.000001%", "2.5%", "33.333333%", "99.999999%", "100%"])
    def test_print_as_they_were_written(self, text: str) -> None:
        """A threshold prints as the percentage that it was read from."""
        share = good(f"- {{name: a, by: t, share: {text}, set: {{a: 1}}}}").share
        assert share is not None
        assert percentage(share) == text


class TestTimes:
    """
    The keys `from` and `until`.
    """

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-11-28T10:00:00Z", "2026-11-28T10:00:00+00:00"),
            ("2026-11-28t10:00:00z", "2026-11-28T10:00:00+00:00"),
            ("2026-11-28T10:00:00.5-05:30", "2026-11-28T15:30:00.500000+00:00"),
            ("2026-11-28T10:00:00.123456789Z", "2026-11-28T10:00:00.123456+00:00"),
            ("2026-11-28T10:00:00-00:00", "2026-11-28T10:00:00+00:00"),
            ("2026-11-28T10:00:00-23:59", "2026-11-29T09:59:00+00:00"),
        ],
    )
    def test_are_utc(self, text: str, expected: str) -> None:
        """A time in RFC 3339 with Z or any offset is read as a moment in UTC."""
        start = good(f"- {{from: {text}, set: {{a: 1}}}}").start
        assert start is not None
        assert start.isoformat() == expected

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-28T10:00:00",
            "2026-11-28",
            "2026-11-28 10:00:00Z",
            "2026-11-28T10:00Z",
            "2026-02-30T10:00:00Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T10:00:60Z",
            "2026-11-28T10:00:00+1",
            "2026-11-28T10:00:00+24:00",
            "2026-11-28T10:00:00+05:75",
            "2026-11-28T10:00:00-05:60",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00Z",
            "tomorrow",
            "~",
            "[a]",
        ],
    )
    def test_refuses_others(self, text: str) -> None:
        """A time without an offset, and a text that is not a time, are refused with an example."""
        fault = bad(f"- {{from: {text}, set: {{a: 1}}}}")
        assert fault.message.startswith("expected a time with Z or an offset, such as 2026-11-28T10:00:00Z, got")
        assert fault.column == 10


REFUSED = [
    # A key, alone or next to others.
    ("- {form: x, set: {a: 1}}", 4, "got 'form' (did you mean 'from'?)"),
    ("- {Set: {a: 1}, set: {a: 1}}", 4, "got 'Set' (did you mean 'set'?)"),
    ("- {zzz: x, set: {a: 1}}", 4, "expected a key of rules: name, when, unless, from,"),
    ("- {when: {zone: a}}", 3, "expected the key `set`"),
    ("- {set: {}}", 9, "expected a mapping of flags to their values, such as {rate_limit: 80}, got an empty mapping"),
    ("- {set: []}", 9, "got an empty list"),
    ("- {set: }", 9, "expected a mapping of flags to their values, such as {rate_limit: 80}, got null"),
    ("- {set: [a]}", 9, "got a list"),
    ("- {set: {a: null}}", 13, 'expected a value; leave the flag out, or write "" for an empty text, got null'),
    ("- {set: {a: [.inf]}}", 13, "neither infinity nor NaN"),
    ("- just text", 3, "expected a rule, which is a mapping with `set`, got 'just text'"),
    ("- [a]", 3, "expected a rule, which is a mapping with `set`, got a list"),
    ("- ", 2, "expected a rule, which is a mapping with `set`, got null"),
    # Names.
    ("- {name: '', set: {a: 1}}", 10, "expected a name of 1 to 253 printable characters"),
    ("- {name: ~, set: {a: 1}}", 10, "got null"),
    ("- {name: [a], set: {a: 1}}", 10, "got a list"),
    ('- {name: "a\\nb", set: {a: 1}}', 10, "printable"),
    (f"- {{name: {'x' * 254}, set: {{a: 1}}}}", 10, "1 to 253"),
    ("- {name: rule 7, set: {a: 1}}", 10, "not that of rules without one"),
    (f"- {{{FROM}, over: 30m, set: {{a: 1}}}}", 32, "expected `name` beside `over`"),
    (f"- {{{FROM}, steps: [5%], set: {{a: 1}}}}", 32, "expected `name` beside `steps`"),
    (f"- {{{FROM}, bake: 30m, set: {{a: 1}}}}", 32, "expected `name` beside `bake`"),
    ("- {by: t, share: 5%, set: {a: 1}}", 11, "expected `name` beside `share`"),
    # Facts.
    ("- {when: {}, set: {a: 1}}", 10, "such as {zone: [eu-1, eu-2]}, got an empty mapping"),
    ("- {unless: {}, set: {a: 1}}", 12, "such as {zone: [eu-1, eu-2]}, got an empty mapping"),
    (
        "- {when: zone, set: {a: 1}}",
        10,
        "expected a mapping of facts to what they must fit, such as {zone: [eu-1, eu-2]}",
    ),
    ("- {when: {zone: {a: b}}, set: {a: 1}}", 17, "expected a text or a list of texts, got a mapping"),
    ("- {when: {zone: [[a]]}, set: {a: 1}}", 18, "expected a text or a glob that the fact must fit, got a list"),
    ("- {when: {zone: }, set: {a: 1}}", 17, "got null"),
    ("- {when: {'': a}, set: {a: 1}}", 11, "expected the name of a fact"),
    # Times.
    (f"- {{{FROM}, until: 2026-11-28T10:00:00Z, set: {{a: 1}}}}", 39, "expected `until` to be later than `from`"),
    (f"- {{{FROM}, until: 2026-11-28T11:30:00+02:00, set: {{a: 1}}}}", 39, "later than `from`"),
    # Stages.
    ("- {name: a, over: 30m, set: {a: 1}}", 13, "expected `from` beside `over`"),
    ("- {name: a, steps: [5%], set: {a: 1}}", 13, "expected `from` beside `steps`"),
    ("- {name: a, bake: 30m, set: {a: 1}}", 13, "expected `from` beside `bake`"),
    (f"- {{name: a, {FROM}, over: 30, set: {{a: 1}}}}", 47, "expected a duration with its unit, such as 90s, got '30'"),
    (f"- {{name: a, {FROM}, over: -30m, set: {{a: 1}}}}", 47, "expected a duration above 0, got '-30m'"),
    (f"- {{name: a, {FROM}, over: 0s, set: {{a: 1}}}}", 47, "expected a duration above 0"),
    (f"- {{name: a, {FROM}, over: [1h], set: {{a: 1}}}}", 47, "expected a duration such as 30m, got a list"),
    (f"- {{{STAGED}, steps: [5%], set: {{a: 1}}}}", 41, "expected no `over` beside `steps`: write one of them"),
    (f"- {{name: a, {FROM}, steps: 5%, set: {{a: 1}}}}", 48, "expected a list of percentages, such as [5%, 25%, 100%]"),
    (f"- {{name: a, {FROM}, steps: [], set: {{a: 1}}}}", 48, "such as [5%, 25%, 100%], got an empty list"),
    (
        f"- {{name: a, {FROM}, every: 1h, steps: [5%, 5%], set: {{a: 1}}}}",
        64,
        "each is higher than the one before, got '5%'",
    ),
    (f"- {{name: a, {FROM}, every: 1h, steps: [50%, 5%], set: {{a: 1}}}}", 65, "each is higher"),
    (
        f"- {{name: a, {FROM}, steps: [5%, 50%], set: {{a: 1}}}}",
        41,
        "expected `every` beside `steps`: how long a step takes",
    ),
    ("- {every: 1h, set: {a: 1}}", 4, "expected `steps` beside `every`"),
    ("- {of: node, set: {a: 1}}", 4, "expected `over` or `steps` beside `of`"),
    # Keys.
    ("- {is: acme, set: {a: 1}}", 4, "expected `by` beside `is`"),
    ("- {name: a, share: 5%, set: {a: 1}}", 13, "expected `by` beside `share`"),
    ("- {by: [t], set: {a: 1}}", 8, "expected what keys are"),
    ("- {by: t, is: {a: b}, set: {a: 1}}", 15, "expected a text or a list of texts, got a mapping"),
    ("- {by: t, is: [a, ~], set: {a: 1}}", 19, "expected a key, in quotes if it looks like null, got null"),
    ("- {name: a, by: t, is: a, share: 5%, set: {a: 1}}", 27, "expected no `share` beside `is`: write two rules"),
    (f"- {{name: a, by: t, is: a, {FROM}, steps: [5%], set: {{a: 1}}}}", 55, "expected no `steps` beside `is`"),
    (f"- {{name: a, by: t, share: 5%, {FROM}, steps: [5%], set: {{a: 1}}}}", 20, "expected no `share` beside `steps`"),
    (f"- {{{STAGED}, by: t, set: {{a: 1}}}}", 41, "expected no `over` beside `by`: write `steps`"),
    (f"- {{name: a, {FROM}, bake: 1m, by: t, set: {{a: 1}}}}", 41, "expected no `bake` beside `by`"),
    (f"- {{name: a, {FROM}, steps: [5%], of: b, by: t, set: {{a: 1}}}}", 54, "expected no `of` beside `by`"),
    # What is not plain YAML.
    ("- {set: &a {x: *b}}", 16, "expected a value in full, without an alias, got '*b'"),
    ("- *a", 3, "expected a value in full, without an alias, got '*a'"),
    ("- {set: {a: !!int 3}}", 13, "expected a value without a tag, got 'tag:yaml.org,2002:int'"),
    ("- !x {set: {a: 3}}", 3, "expected a value without a tag, got '!x'"),
    ("- {set: {a: 3}, set: {a: 4}}", 17, "expected each key once, got 'set'"),
    ("- {set: {a: 3, 'a': 4}}", 16, "expected each key once, got 'a'"),
    ("- {set: {a: {b: 1, b: 2}}}", 20, "expected each key once, got 'b'"),
    ("- {set: {<<: {b: 1}, a: 1}}", 10, "expected every key in full, without a merge key"),
    ("- {set: {[a]: 1, b: 1}}", 10, "expected a text as the key, got 'a list'"),
    ('[{"set": {"a": "\\ud800"}}]', 16, "expected whole Unicode characters"),
]


class TestFaults:
    """
    What is wrong with a rule.
    """

    @pytest.mark.parametrize(("text", "column", "message"), REFUSED, ids=[text for text, _, _ in REFUSED])
    def test_say_what_to_write(self, text: str, column: int, message: str) -> None:
        """A fault has its line and column and says what to write instead, and the list stays readable."""
        fault = bad(text)
        assert message in fault.message
        assert (fault.line, fault.column) == (1, column)
        assert fault.rule is not None
        assert fault.message.startswith(fault.expected)
        assert parse_rules(text).is_readable

    @pytest.mark.parametrize("text", ["- {<<: {set: {a: 1}}}", "- {set: {<<: {a: 1}}}"])
    def test_begin_with_what_cannot_be_read(self, text: str) -> None:
        """A merge key is the first fault, which `rejected` shows, before the fault that something is missing."""
        first, second = parse_rules(text).faults
        assert (first.message, first.column) == (
            "expected every key in full, without a merge key, got '<<'",
            text.index("<<") + 1,
        )
        assert "`set`" in second.message or "an empty mapping" in second.message

    def test_name_the_rule(self) -> None:
        """A fault names its rule, by the rule's name or by its place in the list."""
        read = parse_rules("- {set: {a: ~}, name: x}\n- set: {a: ~}\n")
        assert [fault.rule for fault in read.faults] == ["x", "rule 2"]

    def test_refuse_the_later_of_two_names(self) -> None:
        """Of two rules with one name the later is refused, whether the first one is good or bad."""
        read = parse_rules(
            "- {name: x, set: {a: 1}}\n- {name: x, set: {a: 2}}\n- {name: y, set: 3}\n- {name: y, set: {a: 4}}"
        )
        assert [rule.values for rule in read.rules] == [{"a": "1"}]
        messages = [fault.message for fault in read.faults]
        assert messages[0] == "expected a name of its own: rule 1 of the list has the same, got 'x'"
        assert messages[2] == "expected a name of its own: rule 3 of the list has the same, got 'y'"
        assert (read.faults[0].line, read.faults[0].column) == (2, 10)

    def test_are_all_told(self) -> None:
        """All faults of a rule are reported, in the order of the text."""
        read = parse_rules("- form: 1\n  over: x\n  set:\n    a: ~\n")
        assert [(fault.line, fault.column) for fault in read.faults] == [(1, 3), (2, 3), (2, 9), (4, 8)]

    def test_tell_a_mistyped_key_alone(self) -> None:
        """A mistyped key is reported, and the key that was meant is not reported as missing too."""
        (fault,) = parse_rules("- {sett: {a: 1}}").faults
        assert fault.message.endswith("got 'sett' (did you mean 'set'?)")
        (fault,) = parse_rules("- {nam: a, by: b, share: 1%, set: {a: 1}}").faults
        assert fault.message.endswith("got 'nam' (did you mean 'name'?)")

    def test_are_few(self) -> None:
        """Of a rule with thousands of faults, ten are reported."""
        read = parse_rules("- {set: {a: 1}, " + ", ".join(f"k{number}: 1" for number in range(5000)) + "}")
        assert len(read.faults) == 10

    def test_cut_what_they_show(self) -> None:
        """The message for a key of 100,000 characters is shorter than 400 characters."""
        assert len(bad(f"- {{{'x' * 100_000}: 1, set: {{a: 1}}}}").message) < 400

    def test_quote_nothing_in_what_was_expected(self) -> None:
        """`expected` of a fault, which is shown for a secret source, quotes none of the source's texts."""
        for fault in parse_rules(
            "- {set: {a: ~}, name: [s3cret], s3cret: 1, from: s3cret, *s3cret : !s3cret 1}"
        ).faults:
            assert "s3cret" not in fault.expected


class TestUnreadable:
    """
    Texts that are not a list of rules.
    """

    @pytest.mark.parametrize(
        ("raw", "message", "place"),
        [
            ("a: 1", "expected a list", (1, 1)),
            ("text", "expected a list", (1, 1)),
            ("'null'", "expected a list", (1, 1)),
            ("# x\n!x []", "expected a list without a tag", (2, 1)),
            ("*a", "expected a list", (1, 1)),
            ("- a\n---\n[]", "expected one YAML document (found several)", (2, 1)),
            ("- set: {a: 1}\n  b: [", "expected JSON or YAML", (2, 7)),
            ("- a\n\x00", "expected JSON or YAML", (2, 1)),
            ('[{"set": {"a": 1}},\n {"set" 1}]', "expected JSON: Expecting ':'", (2, 9)),
            (b"- a\n- \xff", "expected a document in UTF-8", (2, 3)),
            ("- a\n- \ud800", "expected a list of rules in whole Unicode characters", (2, 3)),
            (Unreadable("permission denied"), "expected a list of rules (permission denied)", (1, 1)),
            ("[" * 200, "nested at most 100 levels deep", (1, 101)),
            ("- " + "[" * 200, "nested at most 100 levels deep", (1, 102)),
            ("- set: {a: " + "{b: " * 200, "nested at most 100 levels deep", (1, 400)),
        ],
    )
    def test_is_told_with_its_place(self, raw: str | bytes | Unreadable, message: str, place: tuple[int, int]) -> None:
        """A text that is not a list of rules has one fault, with its place and without a rule, and no rule is read."""
        read = parse_rules(raw)
        assert not read.is_readable
        assert read.rules == ()
        (fault,) = read.faults
        assert fault.rule is None
        assert message in fault.message
        assert (fault.line, fault.column) == place

    def test_refuses_too_many_rules(self) -> None:
        """A list of 10,000 rules is read; a longer one is unreadable, with a fault at the first rule beyond."""
        assert len(parse_rules("- set: {a: 1}\n" * MAX_RULES).rules) == MAX_RULES
        for text in ("- set: {a: 1}\n" * (MAX_RULES + 1), "[" + '{"set": {"a": 1}},\n' * MAX_RULES + "1]"):
            read = parse_rules(text)
            assert not read.is_readable
            assert read.faults[0].message == "expected a list of at most 10000 items"
            assert read.faults[0].line == MAX_RULES + 1

    def test_refuses_too_large_a_text(self) -> None:
        """A text of 16 MiB is read; a larger one, counted in bytes, is refused as unreadable before it is parsed."""
        fits = "- set: {a: 1}\n#" + "x" * (MAX_BYTES - 15)
        assert len(parse_rules(fits).rules) == 1
        for raw in (fits + "x", (fits + "x").encode(), "#" + "é" * (MAX_BYTES // 2), "[" + " " * MAX_BYTES):
            read = parse_rules(raw)
            assert not read.is_readable
            assert [fault.message for fault in read.faults] == ["expected a list of rules of at most 16777216 bytes"]


@pytest.mark.untraced
class TestSize:
    """
    Bounds of time and memory.
    """

    def test_a_million_keys(self) -> None:
        """A rule may name a million keys, in YAML and in JSON."""
        keys = [f"tenant{number}" for number in range(1_000_000)]
        for text in (
            f"- {{by: tenant, is: [{', '.join(keys)}], set: {{a: 1}}}}",
            '[{"by": "tenant", "is": ["' + '", "'.join(keys) + '"], "set": {"a": 1}}]',
        ):
            assert good(text).keys == tuple(keys)

    def test_more_values_than_memory_should_take(self) -> None:
        """A text of 16 MiB with eight million values is unreadable, because at most 2,097,152 values are allowed."""
        read = parse_rules("[" * 4 + "1," * 8_000_000 + "1]]]]")
        assert not read.is_readable
        assert "at most 2097152 values" in read.faults[0].message

    @pytest.mark.parametrize(
        "part",
        [
            "- set: {a: 1}\n",
            "- [\n",
            "- {a: *b, *b : !c d}\n",
            "- ? [a]\n  : b\n",
            "- 'x\n\n",
            "- >\n x\n",
            "-\n\n",
            "- &a b\n",
        ],
    )
    def test_takes_time_in_proportion(self, part: str) -> None:
        """The time to parse a text grows in proportion to its length, whatever is written in it."""
        seconds = []
        for count in (2_000, 8_000):
            text = part * count
            best = min(_seconds(text) for _ in range(3))
            seconds.append(best)
        assert seconds[1] < 12 * seconds[0] + 0.05


def _seconds(text: str) -> float:
    start = time.process_time()
    parse_rules(text)
    return time.process_time() - start


class TestDocuments:
    """
    The key `_rules` of a document.
    """

    def read(self, text: str, *, yaml: bool = True) -> documents.Document:
        return documents.read(text.encode(), yaml=yaml, unread=("_rules",))

    @pytest.mark.parametrize(
        "text",
        [
            "a: no\n# c\n_rules:  # x\n  - set: {a: 010}\n  - form: 3\n    set: {a: 1}\nb: 2\n",
            "a: no\n# c\n_rules:\n- set: {a: 010}\n- form: 3\n  set: {a: 1}\n\n# x\nb: 2\n",
            "a: no\n# c\n_rules: |\n  - set: {a: 010}\n  - form: 3\n    set: {a: 1}\nb: 2\n",
            "a: no\r# c\r_rules: |\r  - set: {a: 010}\r  - form: 3\r    set: {a: 1}\rb: 2\r",
            "a: no\n# c\n_rules: [\n  {set: {a: 010}},\n {  form: 3, set: {a: 1}}]\nb: 2\n",
        ],
    )
    def test_is_read_from_its_text(self, text: str) -> None:
        """Rules in a document are read as they are written, with the lines and columns of the document."""
        document = self.read(text)
        read = parse_rules(document.values["_rules"])
        assert [rule.values for rule in read.rules] == [{"a": "010"}]
        (fault,) = read.faults
        assert text.splitlines()[fault.line - 1][fault.column - 1 :].startswith("form")
        assert {key: str(raw) for key, raw in document.values.items() if key != "_rules"} == {"a": "no", "b": "2"}

    @pytest.mark.parametrize(
        "text",
        [
            "_rules: |\u2028  - set: {a: 010}\u2028",
            "_rules: |\x85  - set: {a: 010}\x85",
            "_rules: |\n  - set: {a: 010}\n  ...\n",
            "_rules: &x\n  |\n  - set: {a: 010}\n",
        ],
    )
    def test_is_read_from_a_literal_block_however_that_is_written(self, text: str) -> None:
        """Rules are read from a literal block with any line break of YAML, an anchor above it, or an end marker."""
        assert [rule.values for rule in parse_rules(self.read(text).values["_rules"]).rules] == [{"a": "010"}]

    def test_is_read_from_json(self) -> None:
        """Rules in JSON keep the digits of their numbers, and a doubled key makes only its own rule bad."""
        text = '{"a": 1,\n "_rules": [{"set": {"a": 1.10}},\n  {"set": {"a": 1, "a": 2}}],\n "b": 2}'
        for yaml in (False, True):
            document = self.read(text, yaml=yaml)
            read = parse_rules(document.values["_rules"])
            assert [rule.values for rule in read.rules] == [{"a": "1.10"}]
            assert [(fault.line, fault.column) for fault in read.faults] == [(3, 20)]
            assert document.values["b"] == "2"

    def test_spoils_nothing_else(self) -> None:
        """Tags, doubled keys and deep nesting in the rules of a document do not change its other keys."""
        for rules in ("[{set: !x {a: 1}}]", "[{set: {a: 1, a: 1}}]", "[" * 300 + "]" * 300, "*x", "{}"):
            document = self.read(f"a: 1\n_rules: {rules}\nb: 2\n")
            assert {key: str(raw) for key, raw in document.values.items() if key != "_rules"} == {"a": "1", "b": "2"}
            assert parse_rules(document.values["_rules"]).faults

    @pytest.mark.parametrize(
        "text", ["_rules:", "_rules: ~", "_rules: []", "_rules: ''", "_rules: |\n", '{"_rules": null}']
    )
    def test_may_hold_none(self, text: str) -> None:
        """A key `_rules` with an empty value or null holds no rules and no fault."""
        read = parse_rules(self.read(text).values["_rules"])
        assert (read.rules, read.faults, read.is_readable) == ((), (), True)

    @pytest.mark.parametrize(
        ("text", "place"),
        [("a: 1\n_rules: hello\n", (2, 9)), ("a: 1\n_rules:\n   5\n", (3, 4)), ('{"a": 1,\n "_rules": 5}', (2, 12))],
    )
    def test_that_is_no_list_is_told_with_its_place(self, text: str, place: tuple[int, int]) -> None:
        """A scalar in the place of rules is refused with its line and column in the document."""
        (fault,) = parse_rules(self.read(text).values["_rules"]).faults
        assert (fault.message, fault.line, fault.column) == ("expected a list", *place)

    def test_does_not_change_with_what_stands_above(self) -> None:
        """A line above the rules moves the lines of their faults, and their text stays equal."""
        one, other = (self.read(f"{above}_rules:\n- form: 1\n").values["_rules"] for above in ("", "# x\n\n"))
        assert one == other
        assert [parse_rules(raw).faults[0].line for raw in (one, other)] == [2, 4]

    def test_comes_from_files(self, tmp_path: Path) -> None:
        """`FileSource` returns the rules of a document as written, and `locate()` returns their file without a line."""
        path = tmp_path / "app.yaml"
        path.write_text("a: 1\n_rules:\n- set: {a: 010}\n")
        source = FileSource(path, settle_seconds=0)
        assert parse_rules(source.read()["_rules"]).rules[0].values == {"a": "010"}
        assert source.locate("_rules") == str(path)
        assert source.locate("a") == f"{path}:1"


def test_thresholds_are_those_of_the_formula() -> None:
    """The first four bytes of the digest are below the threshold of 10% for about 10% of 10,000 keys."""
    share = good("- {name: new-path-tenants, by: tenant, share: 10%, set: {a: 1}}").share
    assert share is not None
    drawn = [hashlib.sha256(b"new-path-tenants\0" + f"tenant{n}".encode()).digest()[:4] for n in range(10_000)]
    inside = sum(int.from_bytes(digest, "big") < share for digest in drawn)
    assert 900 < inside < 1100
