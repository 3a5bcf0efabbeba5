"""Calls with a limit on their processor time and memory."""

import os
import signal
import threading

import pytest

from sft_pipeline.provenance import subprocess_call

REGEX = "sft_pipeline.evaluation.scorers.regex"


def test_a_process_that_was_killed_from_outside_is_started_again():
    assert subprocess_call.call(REGEX, "matches", "a", "a", "full", seconds=1)
    process = subprocess_call._process(os.getpid())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert subprocess_call.call(REGEX, "matches", "a", "a", "full", seconds=1)
    assert subprocess_call._process(os.getpid()).pid != process.pid


def test_an_interrupted_call_leaves_no_answer_to_the_next_one():
    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        raise Interrupt

    assert subprocess_call.call(REGEX, "matches", "a", "a", "full", seconds=1)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupt):
            subprocess_call.call(REGEX, "matches", "(a+)+b|c", "a" * 60, "full", seconds=5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert subprocess_call.call(REGEX, "matches", "a", "a", "full", seconds=1)
    assert not subprocess_call.call(REGEX, "matches", "a", "b", "full", seconds=1)


def test_many_threads_get_each_their_own_answer():
    answers = {}

    def ask(n: int) -> None:
        answers[n] = subprocess_call.call(REGEX, "matches", f"x{n}", f"x{n % 5}", "full", seconds=1)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [n for n, matched in sorted(answers.items()) if matched] == [0, 1, 2, 3, 4]


def test_an_error_of_the_function_is_no_result():
    with pytest.raises(RuntimeError, match="regex.matches: PatternError|regex.matches: error"):
        subprocess_call.call(REGEX, "matches", "(", "a", "full", seconds=1)


def test_memory_has_a_limit():
    with pytest.raises(subprocess_call.Exhausted, match="needs too much memory"):
        subprocess_call.call("operator", "mul", "x" * 2**20, 2**12, seconds=5)


def test_the_process_ends_with_its_input():
    subprocess_call.call(REGEX, "matches", "a", "a", "full", seconds=1)
    process = subprocess_call._process(os.getpid())
    process.stdin.close()
    assert process.wait(timeout=60) == 0
