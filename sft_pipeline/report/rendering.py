"""Pages: templates, styles and scripts are files under templates/, rendered with every value escaped."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


class Stage(NamedTuple):
    """A stage of the lineage as the header of a page names it.

    Attributes:
        name: such as data.
        address: of its page, relative to the page that names it; without one it cannot be opened from there.
        state: how it came out, in a word or two.
        outcome: class of that word: pass, fail, refused or nothing.
        here: whether it is what the page is about.
    """

    name: str
    address: str = ""
    state: str = ""
    outcome: str = ""
    here: bool = False


_about: ContextVar[tuple[Mapping[str, str], Sequence[Stage]]] = ContextVar("about", default=(MappingProxyType({}), ()))


@contextmanager
def about(facts: Mapping[str, str], stages: Sequence[Stage] = ()) -> Iterator[None]:
    """Every page that is rendered inside names these facts at its end, and these stages at its beginning.

    Args:
        facts: such as the experiment and the commit.
        stages: what the page's own artifact was made from, as far as there are pages of it.
    """
    token = _about.set((facts, stages))
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
    facts, stages = _about.get()
    environment = _environment()
    environment.filters |= filters
    return environment.get_template(template).render(**values, about=facts, lineage=_lineage(stages))


def with_lineage(page: str, stages: Sequence[Stage]) -> str:
    """A rendered page with other stages at its beginning: when it was stored, what came later was not there yet."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    # As a str: a str that is added to Markup would be escaped.
    return before + str(_lineage(stages)) + after if begin and end else page


_BEGIN, _END = "<!-- lineage -->", "<!-- /lineage -->"


def _lineage(stages: Sequence[Stage]) -> Markup:
    made = _environment().get_template("lineage.html.j2").render(stages=stages)
    return Markup(_BEGIN + made + _END)


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_compiled(),
    )
    environment.globals["file"] = _file
    environment.filters["sha256"] = _sha256
    return environment


@cache
def _compiled() -> "BytecodeCache":
    """The templates that this process has compiled: each page has an environment of its own, for its filters."""
    from jinja2 import BytecodeCache
    from jinja2.bccache import Bucket

    class Kept(BytecodeCache):
        def __init__(self) -> None:
            self.code: dict[str, bytes] = {}

        def load_bytecode(self, bucket: Bucket) -> None:
            if bucket.key in self.code:
                bucket.bytecode_from_string(self.code[bucket.key])

        def dump_bytecode(self, bucket: Bucket) -> None:
            self.code[bucket.key] = bucket.bytecode_to_string()

    return Kept()


def _file(name: str) -> Markup:
    """A style or a script as it stands: Jinja does not read it, because `{#` and `{{` are legal there."""
    return Markup(files(__package__).joinpath("templates", name).read_text("utf-8"))


def _sha256(text: str) -> str:
    """The hash as a Content-Security-Policy names a script: only that one may run, nothing that a model wrote."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
