"""The machines that train together, as the environment of a Kubernetes indexed job or of Slurm describes them.

`SFT_PIPELINE_NODES` says how many there are; without it a training stays on its machine, whatever a scheduler says. Each
node starts its processes by torchrun with the static rendezvous: a TCPStore on node 0, which holds strings and unpickles
nothing, as torchrun's dynamic rendezvous does. It still believes whoever reaches its port, and so do the processes afterwards:
the network between the nodes must be closed to others.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from sft_pipeline.errors import PreconditionError, SpecificationError

NODES = "SFT_PIPELINE_NODES"
"""Variable with the number of machines that train together."""

INDEX = ("JOB_COMPLETION_INDEX", "SLURM_NODEID")
"""Variables in which Kubernetes and Slurm say which of them this one is, from 0 on."""

COUNTS = ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", "SLURM_NNODES")
"""Slurm's own number of nodes; the first one that is set holds."""

LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")
"""Slurm's names of the nodes, such as `gpu[03-07,11]`."""

ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"
"""Variables with host and port at which node 0 is reached; the names are torch's."""

DEFAULT_PORT = 29500
"""torchrun's own default."""

JOINING = 900
"""Seconds that node 0 waits for the others, and these for it; torchrun's own default."""

SAVING = 600
"""Seconds that the processes have for their last checkpoint after a notice of termination."""


@dataclass(frozen=True)
class Node:
    """This machine among those that train together: its index, how many there are, and where node 0 is reached."""

    index: int
    count: int
    address: str
    port: int
    job: str

    def share(self, processes: int) -> int:
        """Processes of each node, out of all of them.

        Raises:
            PreconditionError: they cannot be divided equally.
        """
        if processes % self.count:
            raise PreconditionError(
                f"training.processes is {processes}, which cannot be divided over {NODES}={self.count} nodes: set it to a "
                f"multiple of {self.count}"
            )
        return processes // self.count

    def torchrun(self, processes: int, *program: str, seconds: float | None = None) -> list[str]:
        """The command line that starts this node's processes.

        Args:
            processes: of this node.
            program: the module that each of them runs, and its arguments.
            seconds: how long to wait for the other nodes; None: `JOINING`.
        """
        options = {
            "nnodes": self.count,
            "node-rank": self.index,
            "nproc-per-node": processes,
            "rdzv-backend": "static",
            "rdzv-endpoint": f"{self.address}:{self.port}",
            "rdzv-id": self.job,
            "rdzv-conf": f"timeout={round(JOINING if seconds is None else seconds)}",
            "max-restarts": 0,
            "shutdown-timeout": SAVING,
        }
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "torch.distributed.run", *given, "-m", *program]


def here(environment: Mapping[str, str] = os.environ) -> Node | None:
    """This machine among the nodes of the training; None where it trains alone.

    Raises:
        SpecificationError: the environment is incomplete or contradicts itself; names the variable.
    """
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    count = _number(given, NODES, least=1) if NODES in given else 1
    if count == 1:
        return None
    stated = {name: _number(given, name, least=0) for name in INDEX if name in given}
    if not stated:
        raise SpecificationError(
            f"{NODES} is {count}, but nothing says which node this is: Kubernetes sets {INDEX[0]} in the pods of an indexed "
            f"job, Slurm sets {INDEX[1]} in what srun starts"
        )
    if len(set(stated.values())) > 1:
        raise SpecificationError(
            f"{' and '.join(f'{name}={value}' for name, value in stated.items())} contradict each other: unset one of them"
        )
    name, index = next(iter(stated.items()))
    if index >= count:
        raise SpecificationError(f"{name} is {index}, but {NODES} is {count}: the nodes count from 0 to {count - 1}")
    if INDEX[1] in stated:
        _require_slurm(given, count)
    port = _number(given, PORT, least=1) if PORT in given else DEFAULT_PORT
    if port > 65535:
        raise SpecificationError(f"{PORT} is {port}; a port is at most 65535")
    return Node(index, count, given.get(ADDRESS) or _first(given), port, given.get("SLURM_JOB_ID", "sft-pipeline"))


def share(processes: int) -> int:
    """Processes of a training on this machine, which begins it: all of them, or node 0's share.

    Raises:
        PreconditionError: they cannot be divided over the nodes, or this is not node 0.
        SpecificationError: see `here`.
    """
    node = here() if processes > 1 else None
    if node is None:
        return processes
    if node.index:
        raise PreconditionError(
            f"this is node {node.index} of {node.count}: node 0 begins the training, this one joins it by "
            "`sft-pipeline train-node NAME`"
        )
    return node.share(processes)


def _number(given: Mapping[str, str], name: str, least: int) -> int:
    if not given[name].isdecimal() or int(given[name]) < least:
        raise SpecificationError(f"{name} is {given[name]!r}; it must be a whole number of at least {least}")
    return int(given[name])


def _require_slurm(given: Mapping[str, str], count: int) -> None:
    """One task on each of as many nodes as are declared."""
    for name in COUNTS:
        if name in given:
            if _number(given, name, least=1) != count:
                raise SpecificationError(f"{name} is {given[name]}, but {NODES} is {count}: set {NODES}=${name}")
            break
    if given.get("SLURM_LOCALID", "0") != "0":
        raise SpecificationError(
            f"SLURM_LOCALID is {given['SLURM_LOCALID']}: this is a further task of the same node. Start one per node "
            "(srun --ntasks-per-node=1); it starts the processes of all of its devices"
        )


def _first(given: Mapping[str, str]) -> str:
    """The first host of Slurm's list, which is node 0's: `gpu[03-07,11],login` begins with gpu03."""
    for name in LISTS:
        if name in given:
            first = re.match(r"(?:\[[^\]]*\]|[^,\[\]])+(?=,|$)", given[name])
            host = re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0]) if first else ""
            if not re.fullmatch(r"[\w.-]+", host):
                raise SpecificationError(f"{name} is {given[name]!r}, which is no list of hosts; set {ADDRESS}")
            return host
    raise SpecificationError(
        f"{NODES} is set, but not {ADDRESS}: the host at which node 0 is reached, such as JOB-0.SERVICE, the name of pod 0 "
        "by the job's headless service"
    )
