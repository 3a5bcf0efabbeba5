import json
import threading
import urllib.error
import urllib.request

import pytest

from sft_pipeline.errors import DataError, StoreError
from sft_pipeline.review.returned import DATABASE, read_returned
from sft_pipeline.review.serve import links, server


@pytest.fixture
def served(small, tmp_path):
    made = server(small[0], tmp_path, 0)
    thread = threading.Thread(target=made.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}", links(small[0], tmp_path)
    made.shutdown()
    made.server_close()
    thread.join()


def status(url, body=None, **headers):
    request = urllib.request.Request(url, None if body is None else body.encode(), headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_each_rater_has_a_link_and_answers_are_read_like_files(small, served, tmp_path):
    key, *_ = small
    address, tokens = served
    assert len(set(tokens.values())) == 2 and links(key, tmp_path) == tokens
    mine = f"{address}/{tokens['rater-1']}"
    task = key.tasks["rater-1"][0].task
    answer = {"first": "yes", "second": "no", "better": "first", "note": "\u2028ü", "ms": 3}
    assert status(mine)[0] == 200
    assert status(f"{mine}/answers", json.dumps({"task": task, "answer": answer}), Origin=address)[0] == 200
    assert '"second": "no"' in status(mine)[1]
    used, rejected = read_returned(key, tmp_path)
    assert not rejected and used["rater-1"].answers[task].model_dump() == answer
    assert status(f"{mine}/answers", json.dumps({"task": task, "answer": None}))[0] == 200
    assert read_returned(key, tmp_path) == ({}, {})
    assert (tmp_path / DATABASE).stat().st_mode & 0o077 == 0


def test_a_rater_of_another_review_in_the_folder_has_no_link_to_this_one(small, tmp_path):
    key, *_ = small
    third = {"tasks": key.tasks | {"rater-3": key.tasks["rater-1"]}, "pages": key.pages | {"rater-3": "0" * 64}}
    both = links(key.model_copy(update={"request": "another", **third}), tmp_path)
    assert links(key, tmp_path) == {rater: both[rater] for rater in key.tasks}


def test_others_get_nothing_and_store_nothing(small, served, tmp_path):
    key, *_ = small
    address, tokens = served
    mine, task = f"{address}/{tokens['rater-1']}", key.tasks["rater-1"][0].task
    good = json.dumps({"task": task, "answer": {"better": "tie"}})
    assert status(address)[0] == status(f"{address}/x")[0] == status(f"{address}/x/answers", good)[0] == 404
    assert status(mine, Host="evil.example")[0] == status(f"{mine}/answers", good, Host="evil.example")[0] == 403
    assert status(f"{mine}/answers", good, Origin="http://evil.example")[0] == 403
    other = key.tasks["rater-2"][0].task
    for bad in (
        "{",
        "[]",
        "{}",
        json.dumps({"task": other, "answer": {"better": "tie"}}),
        json.dumps({"task": task, "answer": {"better": "both"}}),
        json.dumps({"task": [task], "answer": {}}),
        json.dumps({"task": task, "answer": {"note": "x" * 100_000}}),
    ):
        assert status(f"{mine}/answers", bad)[0] == 400
    assert read_returned(key, tmp_path) == ({}, {})


def test_a_taken_port_and_a_broken_database_are_errors(small, served, tmp_path):
    key, *_ = small
    with pytest.raises(StoreError, match="sft-pipeline review serve"):
        server(key, tmp_path, int(served[0].rpartition(":")[2]))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        read_returned(key, tmp_path / "other")
