"""What counts as open to other machines."""

import socket

import psutil
import pytest

from sft_pipeline_tests.sockets import beyond_loopback


def found():
    return [line.split()[0] for line in beyond_loopback([psutil.Process()])]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_only_a_socket_that_anybody_can_reach_is_named(kind):
    with socket.socket(socket.AF_INET, kind) as inside, socket.socket(socket.AF_INET, kind) as outside:
        inside.bind(("127.0.0.1", 0))
        outside.bind(("0.0.0.0", 0))
        if kind == socket.SOCK_STREAM:
            inside.listen()
            outside.listen()
        assert f"0.0.0.0:{outside.getsockname()[1]}" in found()
        assert f"127.0.0.1:{inside.getsockname()[1]}" not in found()


def test_a_udp_socket_that_takes_from_one_peer_alone_is_not_named():
    addresses = [a.address for all_of in psutil.net_if_addrs().values() for a in all_of if a.family == socket.AF_INET]
    beyond = [address for address in addresses if not address.startswith("127.")]
    if not beyond:
        pytest.skip("this machine has the loopback interface alone")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((beyond[0], 0))
        name = f"{beyond[0]}:{asking.getsockname()[1]}"
        assert name in found()
        asking.connect((beyond[0], 9))
        assert name not in found()
