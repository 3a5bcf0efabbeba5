"""Sockets on which processes listen for others than this machine."""

from collections.abc import Iterable
from ipaddress import ip_address

import psutil


def beyond_loopback(processes: Iterable[psutil.Process]) -> list[str]:
    """Address and process of every TCP socket that listens, and of every UDP socket that takes packets from anybody, beyond
    the loopback interface.

    A UDP socket with a peer takes packets from it alone; the search for a host's address opens such sockets for a moment.
    """
    found = []
    for process in processes:
        try:
            for connection in process.net_connections(kind="inet"):
                listening = connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and not connection.raddr
                if listening and connection.laddr and not ip_address(connection.laddr.ip).is_loopback:
                    found.append(f"{connection.laddr.ip}:{connection.laddr.port} {' '.join(process.cmdline())[:100]}")
        except psutil.NoSuchProcess:
            continue
    return found
