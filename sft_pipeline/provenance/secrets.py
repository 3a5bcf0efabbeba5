"""What is secret: it comes from the environment, and stands in no artifact, metadata, log or message."""

import re

_NAME = re.compile(r"KEY(?:_|$)|TOKEN(?!IZ)|SECRET|PASSW|CREDENTIAL|WEBHOOK|MLFLOW_TRACKING_URI", re.IGNORECASE)
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\")]+")
_USERINFO = re.compile(r"(?<=//)(?:[^\s'\"/]*|[^\s'\"/]*:[^\s'\"]*)@")


def is_secret(variable: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return bool(_NAME.search(variable))


def without_credentials(text: object) -> str:
    """A text, such as that of a library's error, without the names, passwords and queries of its URLs."""
    return _QUERY.sub("", _USERINFO.sub("", str(text)))
