"""The process of evaluation/scoring/sandbox.py, run as `python -I -S -u sandbox_child.py NONCE_FD RESULT_FD`: standard library only.

It reads the program from its standard input, gives up what it can, runs the code, then its tests, and only then reads
the word that means success. Its lines on RESULT_FD: the fences that hold, then the exception or that word.
"""

import ctypes
import json
import os
import resource
import struct
import sys
import types

NOBODY = 65534
FILE_SIZE = 1 << 20
OPEN_FILES = 32

# linux/landlock.h; the numbers of its system calls are the same on every architecture
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ = 0b1101  # execute, read a file, list a folder
_WRITE_FILE, _READ_FILE, _TRUNCATE, _IOCTL = 1 << 1, 1 << 2, 1 << 14, 1 << 15
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract sockets, signals

# linux/sched.h, linux/prctl.h, linux/capability.h
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 8, 38
_CAPABILITY_VERSION, _CAP_SETUID = 0x20080522, 7


def main() -> None:
    """Run one program; never returns."""
    nonce, results = int(sys.argv[1]), int(sys.argv[2])
    read, write, leave, dumps = os.read, os.write, os._exit, json.dumps  # before the code can replace them
    program = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    fences = _fences() if sys.platform == "linux" else []
    memory = program["memory"]
    _limits(program["seconds"], memory)
    write(results, dumps(fences).encode() + b"\n")

    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    sys.argv = ["candidate"]
    for phase in ("code", "tests"):
        try:
            exec(compile(program[phase], phase, "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            # Room for the message, if memory was what ran out.
            resource.setrlimit(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)[1:] * 2)
            write(results, dumps([phase, type(error).__name__, _text(error)[:1000]]).encode())
            leave(1)
    write(results, read(nonce, 64))
    leave(0)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # the code's own exception class
        return ""


def _limits(seconds: float, memory: int) -> None:
    spare = 64 << 20
    for limit, value in (
        (resource.RLIMIT_AS, (memory, memory + spare)),
        (resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2)),
        (resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE)),
        (resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES)),
        (resource.RLIMIT_CORE, (0, 0)),
        # Counts all processes and threads of the user. At 0 not one can be added, however many there are.
        (resource.RLIMIT_NPROC, (0, 0)),
    ):
        resource.setrlimit(limit, value)


def _fences() -> list[str]:
    """Put up what the kernel permits, and give up root; returns what holds."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.geteuid() == 0
    network = libc.unshare(_NEWNET if root else _NEWNET | _NEWUSER) == 0
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    abi = _landlock(libc)
    if root:
        _give_up_root(libc, files_fenced=abi >= 3)
    _capabilities(libc, 0)
    held = {"network": network, "files": abi >= 3, "signals": abi >= 6}
    return [fence for fence, holds in held.items() if holds]


def _landlock(libc: ctypes.CDLL) -> int:
    """Only Python's own files to read, only this folder to write; returns the version of Landlock, below 1 without it."""
    abi = libc.syscall(_CREATE, None, 0, 1)
    if abi < 1:
        return abi
    rights = _RIGHTS[max(version for version in _RIGHTS if version <= abi)]
    attributes = struct.pack("=QQQ", rights, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    python = {sys.base_prefix, sys.base_exec_prefix, "/usr", "/lib", "/lib64"}
    devices = {"/dev/null", "/dev/zero", "/dev/urandom"}
    allowed = dict.fromkeys(python, _READ) | dict.fromkeys(devices, _READ_FILE | _WRITE_FILE) | {".": rights & ~_IOCTL}
    for path, access in allowed.items():
        if os.path.exists(path):
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if libc.syscall(_ADD, rules, 1, struct.pack("=Qi", access, folder), 0):
                raise OSError(ctypes.get_errno(), f"Landlock refuses the rule for {path}")
            os.close(folder)
    if libc.syscall(_RESTRICT, rules, 0):
        return 0
    os.close(rules)
    return abi


def _give_up_root(libc: ctypes.CDLL, files_fenced: bool) -> None:
    """Become nobody, for whom the limit of processes holds; it does not for root.

    Where the files are fenced, those of root stay readable, without any capability: Python may be installed below a folder
    that only root can enter.
    """
    if not files_fenced:
        os.chown(".", NOBODY, NOBODY)
    libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    if files_fenced:
        _capabilities(libc, 1 << _CAP_SETUID)
        libc.setfsuid(0)
    open(os.__file__).close()  # an interpreter without its library would fail every program


def _capabilities(libc: ctypes.CDLL, mask: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    if libc.capset(header, struct.pack("=6I", mask, mask, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


main()
