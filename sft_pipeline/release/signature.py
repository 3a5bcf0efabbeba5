"""The signature of a release by a key file, with model-signing: who made it, and that nothing was changed since.

The library follows symbolic links where they are allowed and accepts an empty folder (its issues 661 and 666), so the folder
is checked by verify.py before anything is signed or believed.
"""

from pathlib import Path
from typing import Any, Literal

from sft_pipeline.errors import DataError
from sft_pipeline.release import verify

State = Literal["signed", "unsigned", "broken", "not checked"]


def sign(folder: Path, key: Path) -> None:
    """Write model.sig, the signature of every other file of the folder.

    Args:
        folder: a release.
        key: PEM file of an elliptic-curve private key (P-256, P-384 or P-521).

    Raises:
        DataError: the folder does not match its own sums, the key cannot be used, or model-signing is not installed.
    """
    if problems := verify.check(str(folder))[0]:
        raise DataError(f"{folder} is not signed, it does not match itself: {problems[0]}")
    library = _library()
    try:
        config = library.signing.Config().use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(_hashing()).sign(folder, folder / verify.SIGNATURE)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{key} cannot sign: {error}. It must be the PEM file of an elliptic-curve private key without a password, such as "
            "`openssl ecparam -name prime256v1 -genkey -noout` writes."
        ) from error


def state(folder: Path, key: Path | None) -> tuple[State, str]:
    """Whether the folder is signed by the owner of a public key, and why not.

    Args:
        folder: a release whose files match its sums.
        key: PEM file of the public key; None checks nothing.

    Raises:
        DataError: the key cannot be read, or model-signing is not installed.
    """
    path = folder / verify.SIGNATURE
    if not path.exists():
        return "unsigned", f"there is no {verify.SIGNATURE}"
    if key is None:
        return "not checked", f"there is a {verify.SIGNATURE}; give the signer's public key: --key FILE"
    library = _library()
    try:
        config = library.verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{key} is no public key that can check a signature: {error}.") from error
    try:
        config.set_hashing_config(_hashing()).verify(folder, path)
    except Exception as error:  # whatever a forged bundle makes the library raise, it is no valid signature
        return "broken", str(error) or f"{type(error).__name__}: the key does not fit, or the signature was changed"
    return "signed", f"by the owner of {key.name}"


def _hashing() -> Any:
    return _library().hashing.Config().set_ignored_paths(paths=[verify.SIGNATURE], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise DataError("signatures need the extra `signing`: pip install 'sft-pipeline[signing]'") from error
    return model_signing
