"""The addresses on which a process and all that it has started listen."""

from contextlib import suppress
from ipaddress import IPv6Address, ip_address

import psutil


def family(process: int) -> list[psutil.Process]:
    """A process and all below it."""
    root = psutil.Process(process)
    return [root, *root.children(recursive=True)]


def listening_addresses(process: int) -> set[str]:
    """Addresses, without ports, of the listening sockets of a process and all below it."""
    found = set()
    for each in family(process):
        with suppress(psutil.NoSuchProcess):
            found |= {one.laddr.ip for one in each.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    return found


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback
