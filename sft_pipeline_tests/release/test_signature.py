"""Signatures with key files, by the real library: signed, unsigned or broken."""

import json

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.provenance.hashing import hash_file
from sft_pipeline.release import verify
from sft_pipeline.release.signature import sign, state
from sft_pipeline_tests.release.conftest import sums_again


@pytest.fixture(scope="module", autouse=True)
def signing():
    """Imported here, not by every process that collects the tests."""
    return pytest.importorskip("model_signing.signing")


def test_a_release_is_unsigned_until_it_is_signed_and_then_by_its_signer_alone(release, keys):
    assert state(release, keys["own.pub"])[0] == "unsigned"
    sign(release, keys["own.key"])
    assert verify.check(str(release))[0] == []
    assert state(release, keys["own.pub"])[0] == "signed"
    assert state(release, None)[0] == "not checked"
    broken, why = state(release, keys["other.pub"])
    assert broken == "broken" and "Key mismatch" in why


def test_whoever_rewrites_all_proofs_is_betrayed_by_the_signature(release, keys):
    sign(release, keys["own.key"])
    path = release / "README.md"
    path.write_text(path.read_text() + "One more sentence.\n")
    manifest = json.loads((release / "release.json").read_text())
    manifest["written"]["README.md"] = hash_file(path)
    (release / "release.json").write_text(json.dumps(manifest))
    sums_again(release)
    assert verify.check(str(release))[0] == [], "without the signature it would pass"
    found, why = state(release, keys["own.pub"])
    assert found == "broken" and "README.md" in why


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", b'{"mediaType": "x", "dsseEnvelope": {}}'])
def test_a_forged_signature_is_broken(release, keys, content):
    (release / "model.sig").write_bytes(content)
    assert state(release, keys["own.pub"])[0] == "broken"


def test_a_signature_of_another_folder_is_broken(signing, release, keys, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("another")
    config = signing.Config().use_elliptic_key_signer(private_key=keys["own.key"])
    config.sign(other, release / "model.sig")
    assert state(release, keys["own.pub"])[0] == "broken"


def test_what_does_not_match_itself_and_keys_that_are_none_are_refused(release, keys, tmp_path):
    with pytest.raises(DataError, match="elliptic-curve private key"):
        sign(release, keys["own.pub"])
    with pytest.raises(DataError, match="elliptic-curve private key"):
        sign(release, tmp_path / "no.key")
    sign(release, keys["own.key"])
    with pytest.raises(DataError, match="no public key"):
        state(release, keys["own.key"])
    (release / "link").symlink_to("README.md")
    with pytest.raises(DataError, match="link: is a symbolic link"):
        sign(release, keys["own.key"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="is missing"):
        sign(empty, keys["own.key"])
