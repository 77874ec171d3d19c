"""
The proxy for a server, by the environment and by the rules that kubectl follows for ``NO_PROXY``.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
import urllib.request


def find(server: str) -> tuple[str, str] | None:
    """
    Return the URL of the proxy for a server and the variable that names it, or None for a direct connection.
    """
    parts = urllib.parse.urlsplit(server)
    proxies = urllib.request.getproxies_environment()
    for scheme in (parts.scheme, "all"):
        if proxy := proxies.get(scheme):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            if is_exempt(parts.hostname or "", port, proxies.get("no", "")):
                return None
            return proxy, f"{scheme.upper()}_PROXY"
    return None


def is_exempt(host: str, port: int, exempt: str) -> bool:
    """
    Return whether a host is asked without a proxy.

    Args:
        host: A name or an address.
        port: The port to be asked.
        exempt: The value of ``NO_PROXY``. Each entry between commas is ``*``, an address, a network (``10.0.0.0/8``)
            or a domain. A domain includes the hosts below it; a domain that begins with a dot means only the hosts
            below it. An address or a domain may be followed by a port. The loopback is always exempt.
    """
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host.lower(), address, port) for entry in exempt.split(","))


def _matches(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only = _split(entry)
    if not name or only not in ("", str(port)):
        return False
    own = _address(name)
    if own is not None or address is not None:
        return own == address
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """
    Split an entry into its host, without brackets, and its port.
    """
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found if mapped is None else mapped
