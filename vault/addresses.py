"""Which addresses a provider may have: the guard against being sent into our own network (SSRF)."""

import ipaddress
from urllib.parse import urlsplit

from vault.errors import Invalid

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that IANA ever gave out of IPv6 to be used on the internet, and what of it is for manuals only.
_UNICAST = ipaddress.ip_network("2000::/3")
_MANUALS = ipaddress.ip_network("3fff::/20")


class AddressRefused(OSError):
    """The address that a name led to is not one a provider may have."""


def is_public(address: str) -> bool:
    """Say whether *address* is out on the internet.

    Refused: private, loopback, link-local (with the clouds' metadata services), carrier-grade NAT,
    multicast, reserved and unspecified addresses, and the IPv6 forms that lead to such an IPv4 one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or _nat64(ip) or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST or ip in _MANUALS:
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, *, allow_local: bool, field: str) -> None:
    """Raise Invalid where *url* cannot be an endpoint. Its name is resolved, and judged, at every call."""
    problem = _problem(url, allow_local)
    if problem:
        raise Invalid(f"{field} {problem}.", code="invalid_url", field=field)


def usable(url: str, *, allow_local: bool) -> bool:
    """Say whether *url* can be an endpoint."""
    return _problem(url, allow_local) is None


def _problem(url: str, allow_local: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme != "https" and not (allow_local and parts.scheme == "http"):
        return "must be an https address"
    if (
        not host
        or "[v" in parts.netloc.lower()
        or port == 0
        or not url.isascii()
        or any(c <= " " or c in "\\\x7f" for c in url)
    ):
        return "is not an address"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "must have neither a user name nor a fragment"
    if not allow_local and _is_local(host):
        return "must not be a local or private address"
    return None


def _is_local(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not is_public(name)
    except ValueError:
        # Not an address as we read them. What a resolver makes of `127.1` or `0x7f000001` is judged
        # when it is connected to; here it is enough that a name of digits is no name.
        return all(label.isdigit() or label.startswith("0x") for label in name.split("."))


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
