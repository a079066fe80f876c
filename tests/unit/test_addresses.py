"""Which addresses a provider may have, and which spellings of a forbidden one get past nobody."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.addresses import check_url, is_public
from vault.errors import Invalid

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.255.255",
    "192.167.255.255",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "2002:808:808::1",  # 6to4 of 8.8.8.8
    "64:ff9b::8.8.8.8",
    "2606:4700:4700::1111%eth0",
]

INSIDE = [
    # this host, this network
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "::",
    "::1",
    "::1%lo",
    # private
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata service
    "fd12:3456:789a::1",
    "fec0::1",  # site-local, deprecated and still routed by some
    # link-local, with the metadata services
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    # carrier-grade NAT, with another metadata service
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    # multicast and broadcast
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "ff02::1",
    "ff0e::1",
    # for manuals and measurements
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "198.19.255.255",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    # reserved
    "192.0.0.1",
    "240.0.0.1",
    "250.1.2.3",
    "5f00::1",
    "4000::1",
    "200::1",
    "fe00::1",
    # IPv6 forms that lead to an IPv4 address inside
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:7f00:1",
    "::ffff:100.64.0.1",
    "::ffff:0:127.0.0.1",  # IPv4-translated
    "::127.0.0.1",  # IPv4-compatible
    "::169.254.169.254",
    "::8.8.8.8",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:101::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo of 127.0.0.1
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo of 10.0.0.1
    "2001:10::1",
    "2001:20::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_on_the_internet_is_public(address: str) -> None:
    """What anybody on the internet could be reached at is let through."""
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    """Nothing that leads to this host, its network or its cloud is let through, however it is written."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_every_ipv6_form_of_an_ipv4_address_is_judged_like_it(inner: ipaddress.IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 forms are exactly as public as the address in them."""
    number = int(inner)
    forms = [(0xFFFF << 32) | number, (0x2002 << 112) | (number << 80) | 1, (0x64FF9B << 96) | number]

    assert {is_public(str(ipaddress.IPv6Address(form))) for form in forms} == {is_public(str(inner))}


@given(st.ip_addresses(v=6))
def test_a_zone_changes_nothing(address: ipaddress.IPv6Address) -> None:
    """The interface that is named behind an address makes it neither more nor less public."""
    assert is_public(f"{address}%eth0") == is_public(str(address))


REFUSED = [
    # no https
    "http://id.example/token",
    "HTTP://id.example/token",
    "ftp://id.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "javascript:alert(1)",
    "//id.example/token",
    "id.example/token",
    "",
    # no host
    "https:",
    "https:///token",
    "https:id.example",
    "https://:443/",
    "https://[/",
    "https://[::1/",
    "https://[v1.x]/",
    # a port that is none
    "https://id.example:0/",
    "https://id.example:99999/",
    "https://id.example:-1/",
    "https://id.example:x/",
    # who else reads this name
    "https://user@id.example/",
    "https://user:pass@id.example/",
    "https://@id.example/",
    "https://id.example@127.0.0.1/",
    "https://id.example:443@127.0.0.1/",
    "https://id.example#@127.0.0.1/",
    "https://id.example/#fragment",
    "https://id.example\\@127.0.0.1/",
    "https:\\\\127.0.0.1\\",
    "https://id.example\t/",
    "https://id.exa\nmple/",
    "https://id.example\r\nHost: x/",
    " https://id.example/",
    "https://id.example/ ",
    "https://id.example/\x00",
    "https://id.example/\x7f",
    "https://\u0456d.example/",  # a Cyrillic letter
    "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",  # 127.0.0.1 in circles
    "https://127\u30020\u30020\u30021/",  # ideographic full stops
    # local by name
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://localhost:8443/",
    "https://id.localhost/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://metadata.google.internal./",
    # local by number, however it is written
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://127.0.1/",
    "https://0/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0X7F.0.0.1/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.000.000.001/",
    "https://169.254.169.254/",
    "https://2852039166/",
    "https://10.0.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[fe80::1%25eth0]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_no_endpoint_is_refused_and_not_repeated(url: str) -> None:
    """Whoever defines a provider cannot name a way inside, and is told which field it was, not what they wrote."""
    with pytest.raises(Invalid) as caught:
        check_url(url, allow_local=False, field="token_endpoint")

    assert caught.value.code == "invalid_url"
    assert caught.value.members == {"field": "token_endpoint"}
    assert not url or url not in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example/token",
        "HTTPS://ID.example:8443/a?b=c",
        "https://id.example.",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://xn--d-mua.example/",
        "https://localhost.example/",
        "https://1password.example/",
    ],
)
def test_an_endpoint_on_the_internet_is_accepted(url: str) -> None:
    """An ordinary https address passes."""
    check_url(url, allow_local=False, field="token_endpoint")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/token", "http://localhost/token", "https://10.0.0.1/"])
def test_local_providers_pass_where_they_are_allowed(url: str) -> None:
    """Plain http and local addresses are for development, and only where a setting says so."""
    check_url(url, allow_local=True, field="token_endpoint")
    with pytest.raises(Invalid):
        check_url(url, allow_local=False, field="token_endpoint")


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://127.0.0.1/#x", "http://a b/"]
)
def test_allowing_local_providers_allows_nothing_else(url: str) -> None:
    """The setting for development loosens where a provider may be, not what an address is."""
    with pytest.raises(Invalid):
        check_url(url, allow_local=True, field="token_endpoint")
