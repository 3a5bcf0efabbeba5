"""Pages: templates, styles and scripts are files under templates/, rendered with every value escaped."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(facts: Mapping[str, str]) -> Iterator[None]:
    """Every page that is rendered inside names these facts at its end, such as the experiment and the commit."""
    token = _about.set(facts)
    try:
        yield
    finally:
        _about.reset(token)


def render(template: str, filters: Mapping[str, Any], **values: object) -> str:
    """A page as HTML.

    Args:
        template: file name under templates/.
        filters: functions that the template applies to values, by name.
        values: what the template shows; one that is missing is an error, one that is not `Markup` is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["file"] = _file
    environment.filters |= filters
    environment.filters["sha256"] = _sha256
    return environment.get_template(template).render(**values, about=_about.get())


def _file(name: str) -> Markup:
    """A style or a script as it stands: Jinja does not read it, because `{#` and `{{` are legal there."""
    return Markup(files(__package__).joinpath("templates", name).read_text("utf-8"))


def _sha256(text: str) -> str:
    """The hash as a Content-Security-Policy names a script: only that one may run, nothing that a model wrote."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
