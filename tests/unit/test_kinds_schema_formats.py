from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import Any

import pytest

import dflag
from dflag._kinds._schema_formats import CHECKS

VALID: dict[str, list[str]] = {
    "date": ["2024-02-29", "0000-01-01"],
    "date-time": ["1998-12-31T15:59:60.123-08:00", "1963-06-19t08:30:06.28z", "1990-12-31T23:59:60Z"],
    "duration": ["P4DT12H30M5S", "PT0S", "P0D", "P1M", "PT36H", "P2W", "P4Y", "P1DT12H"],
    "email": [
        *("joe.bloggs@example.com", "te~st@example.com", '"joe bloggs"@example.com', '"joe@bloggs"@example.com'),
        *("joe@[127.0.0.1]", "joe@[IPv6:::1]", "te.s.t@example.com"),
    ],
    "host-name": ["www.example.com"],
    "hostname": ["www.example.com", "xn--4gbwdl.xn--wgbh1c", "a-b", "1host", "h"],
    "ip-address": ["192.168.0.1"],
    "ipv4": ["192.168.0.1", "10.0.0.0", "255.255.255.255"],
    "ipv6": ["::1", "::", "::ffff:192.168.0.1", "1:2:3:4:5:6:7:8"],
    "iri": [
        "http://\u0192\u00f8\u00f8.\u00dfår/?\u2202=π#π",
        "http://[2001:0db8:85a3::8a2e:0370:7334]",
        "a:\U00020000",
    ],
    "iri-reference": ["/âππ", "âππ", "#\u0192rägmênt", "//\u0192\u00f8\u00f8.\u00dfår", "?\ue000"],
    "json-pointer": ["", "/", "/foo/0", "/a~1b", "/foo//bar", "/~1.1"],
    "regex": [
        *("([abc])+\\s+$", "(?<y>\\d{4})-\\k<y>", "[^]", "[]", "a{2,3}?", "\\p{L}+", "\\u{1F600}", "(?<=ab*)c"),
        *("[\\w-]", "\\cA", "[[a]", "[a&&b]", "", "a|", "(?:)", "[a-z0-9_-]", "(a)\\1"),
    ],
    "relative-json-pointer": ["1", "0/foo/bar", "2/0/baz/1/zip", "0#", "120/foo", "0-1/a"],
    "time": ["23:59:60Z", "01:29:60+01:30", "08:30:06.283185Z", "15:59:60-08:00"],
    "uri": [
        *("http://foo.bar/?baz=qux#quux", "http://foo.com/blah_(wikipedia)#cite-1", "ldap://[2001:db8::7]/c=GB?one"),
        *("http://-.~_!$&'()*+,;=:%40:80%2f::::::@example.com", "mailto:John.Doe@example.com", "tel:+1-816-555-1212"),
        *("urn:oasis:names", "file:///etc", "http://[v1.a:b]/", "http://x:/"),
    ],
    "uri-reference": ["/abc", "abc", "#frag", "", "//foo.bar/?x", "?q", "./a:b", "http://[::1]/", "a:b"],
    "uri-template": ["http://x/{term:1}/{term}", "http://x/{+path}{?a,b*}", "{var}", "", "%20{a.b}"],
    "uuid": ["2EB8AA08-AA98-11EA-B4AA-73B441D16380", "00000000-0000-0000-0000-000000000000"],
}

INVALID: dict[str, list[str]] = {
    "date": ["2024-02-30", "1963-06-1\u09ea", "20240101", "2023-W01-1", "", "1998-1-20", "0000-02-30"],
    "date-time": [
        "1998-12-31T22:59:60Z",
        "1990-02-31T15:59:59Z",
        "06/19/1963",
        "2013-350T01:02:03",
        "1963-06-19 08:30:06Z",
    ],
    "duration": [
        *("P", "PT", "P1YT", "P2S", "P2D1Y", "P1D2H", "P1Y2W", "P1", "PT1D", "4DT", "1D", "P\u09e8Y", "PT1H2S"),
        *("P1.5D", ""),
    ],
    "email": [
        *("2962", ".test@e.com", "test.@e.com", "te..st@e.com", "joe@invalid=domain.com", "joe@[127.0.0.300]"),
        *("a@b@c", "", "@", "a@", " a@b.c", "a@b.c, d@e.f", "a" * 65 + "@b.c"),
    ],
    "host-name": ["-a"],
    "hostname": [
        *("-a", ".a", "a.", "", "a_b", "a" * 64, "xn--X", "XN--aa---o47jg78q", "hostname-", "host\u3002com", "ab--cd"),
        *("a." * 127, "xn--" + "9" * 50),
    ],
    "ip-address": ["256.1.1.1"],
    "ipv4": [
        "127.0.0.0.1",
        "256.1.1.1",
        "127.0",
        "0x7f000001",
        "087.10.0.1",
        "1\u09e87.0.0.1",
        "1.2.3.4/24",
        " 1.2.3.4",
    ],
    "ipv6": ["12345::", "1:2:3", "fe80::a%eth1", "::1/64", ":2:3", "1::2::3", "::192.168.0.1.1", "  ::1"],
    "iri": ["http://2001:0db8:85a3:0000:0000:8a2e:0370:7334", "/abc", "\\\\WIN", "âππ", "http://[zz]", "a:\ue000"],
    "iri-reference": ["\\\\WINDOWS\\filëßåré", "#\u0192räg\\mênt"],
    "json-pointer": ["/~", "a", "#", "#/", "/foo/bar~", "/~2", "/~~"],
    "regex": [
        *("^(abc]", "[", "(", ")", "a**", "*a", "+", "a{3,2}", "a{03,2}", "\\a", "\\Z", "[z-a]", "[\\x7a-\\x61]", "a{"),
        *("(?P<x>a)", "(?i)a", "(?#c)", "(?>a)", "a*+", "\\k<n>", "(?<a>x)(?<a>y)", "\\1", "{", "}", "]", "\\b+"),
        *("^*", "\\", "[\\d-z]", "(?<=a)*", "\\u{110000}", "a|*", "\\01", "\\" + "9" * 5000),
    ],
    "relative-json-pointer": ["/foo/bar", "-1/foo/bar", "+1/foo", "01/a", "01#", "0##", "", "1\u09e8/a"],
    "time": ["22:59:60Z", "23:59:60+01:00", "24:00:00Z", "12:00:00", "1\u09e8:00:00Z", "01:02:03+24:00", "12:00:00Z\n"],
    "uri": [
        *("//foo.bar", "/abc", "\\\\WIN", "abc", "http:// shouldfail.com", ":// should fail", "bar,baz:qux"),
        *("https://[@example.org/test.txt", "https://example.org/foobar\\.txt", "https://example.org/foobar<>.txt"),
        *("a:{", "a:^", "a:|", "a: b", "http://example.com:80a/", "http://[::g]", 'a:"', "http://\u0192/", "a:%zz", ""),
    ],
    "uri-reference": ["\\\\WIN", "#frag\\ment", "http://[1]", "a b", "//[1::2::3]", "1:a"],
    "uri-template": ["http://x/{term", "{}", "{a,}", "{:1}", "}", "{a:0}", "{a b}", "%zz", "<", "{a.}"],
    "uuid": [
        "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
        "2eb8aa08aa9811eab4aa73b441d16380",
        "2eb8-aa08-aa98-11ea-b4aa73b44-1d16380",
    ],
}

DRAFT_2020_12 = {
    *("date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
    *("uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer"),
    *("relative-json-pointer", "regex"),
}
"""The formats of section 7.3 of the specification."""


def _takes(name: str, value: object) -> bool:
    flag = dflag.FlagRegistry().dyn_json("x", None, schema={"type": ["string", "null", "number"], "format": name})
    with contextlib.suppress(dflag.ValidationError):
        flag.set(value)
    return flag.get() == value


def test_the_cases_cover_every_check() -> None:
    """Each format that is checked has texts in this file that it accepts and texts that it refuses."""
    assert VALID.keys() == INVALID.keys() == CHECKS.keys()


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in VALID.items() for text in texts])
def test_a_format_takes_what_its_specification_does(name: str, text: str) -> None:
    """A text in the grammar of a format is accepted, and so is a value that is not a string."""
    assert _takes(name, text)
    assert _takes(name, 5)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in INVALID.items() for text in texts])
def test_a_format_refuses_what_its_specification_does(name: str, text: str) -> None:
    """A text that is not in the grammar of a format is refused."""
    assert not _takes(name, text)


@pytest.mark.parametrize("name", sorted(DRAFT_2020_12 | {"datetime", "int32", "phone", "color", "Date"}))
def test_a_format_is_asserted_or_refused(name: str) -> None:
    """A format is either checked or refused at the declaration; no format is silently ignored."""
    nonsense = "\n no such thing \x00["
    if name in CHECKS:
        assert not _takes(name, nonsense)
    else:
        with pytest.raises(dflag.DefinitionError, match=f"format {name!r} cannot be asserted"):
            _takes(name, nonsense)


def test_a_refused_text_is_named_with_its_format() -> None:
    """The error for a refused text names the format of the schema."""
    flag = dflag.FlagRegistry().dyn_json("x", "1.2.3.4", schema={"format": "ipv4"})
    with pytest.raises(dflag.ValidationError, match='expected a string of format "ipv4"'):
        flag.set("1.2.3")


def test_a_misspelt_format_is_refused_with_a_hint() -> None:
    """A misspelt format is refused at the declaration, and the error suggests the right one."""
    with pytest.raises(dflag.DefinitionError, match=r"format 'datetime' .* did you mean 'date-time'\?"):
        dflag.FlagRegistry().json("x", "", schema={"format": "datetime"})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"format": "datetime"}}},
        {"$defs": {"a": {"format": "datetime"}}, "items": {"$ref": "#/$defs/a"}},
        {"x-shapes": {"a": {"format": "datetime"}}, "items": {"$ref": "#/x-shapes/a"}},
        {"x-shapes": {"a": {"items": {"format": "datetime"}}}, "items": {"$ref": "#/x-shapes/a"}},
        {"if": {"format": "datetime"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"format": "datetime"}}},
    ],
)
def test_formats_are_found_wherever_a_schema_stands(schema: dict[str, Any]) -> None:
    """An unknown format is refused wherever it is in a schema, also in definitions and where only a reference leads."""
    with pytest.raises(dflag.DefinitionError, match="format 'datetime'"):
        dflag.FlagRegistry().json("x", [], schema=schema)


def test_a_property_or_a_value_named_format_is_none() -> None:
    """A property, or a key of a value in the schema, that is named ``format`` is not taken for the keyword."""
    schema = {
        "properties": {"format": {"enum": ["pdf"]}},
        "default": {"format": "pdf"},
        "examples": [{"format": "pdf"}],
        "const": {"format": "pdf"},
    }
    assert dflag.FlagRegistry().json("x", {"format": "pdf"}, schema=schema).get() == {"format": "pdf"}


def test_draft_3_has_another_time() -> None:
    """In draft 3 the format ``time`` is a time of day without a zone."""
    flag = dflag.FlagRegistry().dyn_json(
        "x", "12:00:00", schema={"$schema": "http://json-schema.org/draft-03/schema#", "format": "time"}
    )
    with pytest.raises(dflag.ValidationError):
        flag.set("12:00:00Z")


def test_formats_do_not_depend_on_what_is_installed() -> None:
    """Without the packages that jsonschema uses for formats, bad texts and a bad ``$id`` are still refused."""
    cases = [(name, texts[0]) for name, texts in INVALID.items()]
    program = f"""
import sys
for name in ("rfc3339_validator", "rfc3986_validator", "rfc3987", "rfc3987_syntax", "isoduration", "fqdn", "idna",
             "webcolors", "jsonpointer", "uri_template"):
    sys.modules[name] = None
import dflag
flags = dflag.FlagRegistry()
for name, text in {cases!r}:
    flag = flags.dyn_json(name, None, schema={{"type": ["string", "null"], "format": name}})
    try:
        flag.set(text)
    except dflag.ValidationError:
        continue
    raise SystemExit(f"{{name}} took {{text!r}}")
try:
    flags.json("id", None, schema={{"$id": "http://[", "type": "null"}})
except dflag.DefinitionError:
    raise SystemExit(0)
raise SystemExit("a bad $id was taken")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


HOSTILE = [
    *("a" * 10**6, "a." * 500_000, "/" * 10**6, "a:" + "a/" * 500_000 + " ", "(" * 9_999, "[a-" * 3_000),
    *("\\u{" * 3_000, "{a" * 500_000, "a:" * 500_000 + "\\", "P" + "1" * 10**6, "http://" + "a:" * 500_000 + "@@"),
    *('"' + "\\a" * 500_000, "//" + "[" * 100_000, "x{" + "1" * 4_000 + "," + "1" * 4_000 + "}", "1" * 10**6 + "#x"),
    *("xn--" + "a" * 10**6, "%" * 10**6, "\U0001f600" * 10**6, "0" * 10**6),
]


@pytest.mark.untraced
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_format_takes_time_in_proportion_to_its_text(name: str) -> None:
    """A check of a format takes less than 2 seconds for each hostile text, of which most have a megabyte."""
    for text in HOSTILE:
        began = time.thread_time()
        CHECKS[name](text)
        assert time.thread_time() - began < 2.0
