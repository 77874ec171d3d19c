"""
Which servers are connected to without a proxy.
"""

from __future__ import annotations

import pytest

from dflag.sources import _proxies


@pytest.mark.parametrize(
    ("host", "port", "exempt"),
    [
        ("localhost", 80, ""),
        ("127.0.0.1", 80, ""),
        ("127.8.9.1", 80, ""),
        ("::1", 80, ""),
        ("::ffff:127.0.0.1", 80, ""),
        ("any.test", 80, "other.test, *"),
        ("10.0.0.1", 443, "10.0.0.1"),
        ("10.0.0.1", 443, "10.0.0.1:443"),
        ("10.200.3.4", 443, " 10.0.0.0/8 "),
        ("10.200.3.4", 443, "10.200.3.99/24"),
        ("::ffff:10.0.0.1", 443, "10.0.0.0/8"),
        ("fd00::1", 443, "fd00::/8"),
        ("fd00::1", 443, "FD00:0::1"),
        ("fd00::1", 443, "[fd00::1]"),
        ("fd00::1", 443, "[fd00::1]:443"),
        ("cluster.test", 443, "cluster.test"),
        ("Cluster.Test", 443, "CLUSTER.test"),
        ("api.cluster.test", 443, "cluster.test"),
        ("api.cluster.test", 443, ".cluster.test"),
        ("api.cluster.test", 443, "*.cluster.test"),
        ("api.cluster.test", 443, "cluster.test:443"),
    ],
)
def test_exempt(host: str, port: int, exempt: str) -> None:
    """A host is exempt by its address, its network, its domain, or because it is this machine."""
    assert _proxies.is_exempt(host, port, exempt)


@pytest.mark.parametrize(
    ("host", "port", "exempt"),
    [
        ("10.0.0.1", 443, ""),
        ("10.0.0.1", 443, ", ,:443,[]"),
        ("10.0.0.1", 443, "10.0.0.1:80"),
        ("10.0.0.1", 443, "11.0.0.0/8,fd00::/8"),
        ("10.0.0.1", 443, "10.0.0.0/99,0.0.1"),
        ("fd00::1", 443, "fd00::2,10.0.0.0/8"),
        ("fd00::1", 443, "[fd00::1]:80"),
        ("cluster.test", 443, ".cluster.test"),
        ("cluster.test", 443, "*.cluster.test"),
        ("mycluster.test", 443, "cluster.test"),
        ("cluster.test.evil", 443, "cluster.test"),
        ("cluster.test", 443, "cluster.test:80"),
        ("cluster.test", 443, "10.0.0.0/8"),
        ("localhost.evil", 443, "localhost"),
    ],
)
def test_not_exempt(host: str, port: int, exempt: str) -> None:
    """A host that only resembles an exempt one, in its address, port or domain, is not exempt."""
    assert not _proxies.is_exempt(host, port, exempt)


@pytest.mark.parametrize(
    ("environment", "server", "found"),
    [
        ({}, "https://a.test", None),
        ({"https_proxy": "http://p:1"}, "https://a.test", ("http://p:1", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://p:1"}, "http://a.test", None),
        ({"ALL_PROXY": "p:1"}, "http://a.test", ("p:1", "ALL_PROXY")),
        ({"HTTP_PROXY": "p:1", "ALL_PROXY": "q:1"}, "http://a.test", ("p:1", "HTTP_PROXY")),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "a.test:443"}, "https://a.test", None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "a.test:443"}, "https://a.test:6443", ("p:1", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "fd00::/8"}, "https://[fd00::1]:6443", None),
    ],
)
def test_find(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], server: str, found: tuple[str, str] | None
) -> None:
    """`find()` prefers the variable of the server's scheme to ``ALL_PROXY``, and ``NO_PROXY`` may name a port."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _proxies.find(server) == found
