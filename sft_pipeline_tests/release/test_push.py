"""A release on a hub: whole or not at all, and what is said when the hub refuses or breaks off."""

import pytest

from sft_pipeline.provenance.hashing import files_below
from sft_pipeline.release.push import PushError, push
from sft_pipeline_tests.release.hub import TOKEN, Hub


@pytest.fixture
def hub(monkeypatch):
    """A hub of this machine in the place of the real one, with the legacy upload, which needs no service of its own."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # the library's own pauses between tries
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_revision_holds_exactly_the_release_in_a_private_repository(hub, made):
    address = push(made, "me/model")
    (commit,) = hub.commits
    assert address.endswith(commit) and hub.private is True
    files = {p.relative_to(made).as_posix(): p.read_bytes() for p in files_below(made)}
    assert hub.branches["main"] == {".gitattributes": b"* text\n", **files}
    assert any(request == "PUT /blobs/" + oid for oid in hub.blobs for request in hub.asked)
    # A second push finds the large files there.
    uploads = hub.uploads
    push(made, "me/model")
    assert hub.uploads == uploads
    push(made, "me/model", revision="v1")
    assert hub.branches["v1"] == hub.branches["main"]


@pytest.mark.slow
def test_a_public_repository_is_not_taken_unasked(hub, made):
    hub.private, hub.branches = False, {"main": {}}
    with pytest.raises(PushError, match="exists and is public"):
        push(made, "me/model")
    assert hub.branches["main"] == {}
    push(made, "me/model", public=True)
    assert "README.md" in hub.branches["main"]


@pytest.mark.parametrize(
    ("beginning", "status", "says"),
    [
        ("POST /api/repos/create", 401, "does not accept the token: set HF_TOKEN"),
        ("POST /api/repos/create", 403, "may not write there"),
        ("POST /api/models/me/model/preupload", 429, "asks to wait 1 s; push again later"),
        ("POST /me/model.git/info/lfs", 503, "answered 503"),
        ("PUT /blobs/", 500, "answered 500"),
        ("POST /api/models/me/model/commit", 429, "asks to wait 1 s"),
    ],
)
@pytest.mark.slow
def test_a_hub_that_refuses_leaves_nothing_and_is_quoted(hub, made, beginning, status, says):
    hub.fails = {beginning: status}
    with pytest.raises(PushError, match=says) as error:
        push(made, "me/model")
    assert "Nothing was published" in str(error.value) and TOKEN not in str(error.value)
    assert not hub.commits


def test_a_token_that_the_hub_does_not_know_is_refused(hub, made, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(PushError, match="set HF_TOKEN"):
        push(made, "me/model")


@pytest.mark.parametrize("at", ["PUT /blobs/", "POST /api/models/me/model/commit", "POST /api/repos/create"])
@pytest.mark.slow
def test_a_connection_that_breaks_in_the_middle_leaves_nothing_and_can_be_repeated(hub, made, at):
    hub.breaks_at = at
    with pytest.raises(PushError, match="broke off|answered") as error:
        push(made, "me/model")
    assert "Nothing was published" in str(error.value) and not hub.commits
    hub.breaks_at = ""
    push(made, "me/model")
    assert "adapter_model.safetensors" in hub.branches["main"]


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "README.md"])
def test_a_hub_that_holds_something_else_afterwards_is_found_out(hub, made, name):
    hub.damages = name
    with pytest.raises(PushError, match=f"does not hold what was pushed: {name}"):
        push(made, "me/model")


def test_a_name_that_is_none_is_refused_before_anything_is_asked(hub, made):
    with pytest.raises(PushError, match="no name of a repository"):
        push(made, "me/mo del//x")
    assert not hub.asked
