"""Brackets that hold the place of something that no text can hold: "[Insert chart]", "<link to article>"."""

import re


def of_response(response: str, instruction: str) -> str | None:
    """The whole `response`, if it is one bracket with a word for a picture, a recording or the like, or an image link.

    Args:
        response: text without white space at its ends, of a few hundred characters at most.
        instruction: where it asks for HTML, a tag or a link is an answer.
    """
    if response.startswith(("<", "![")) and (response.startswith("<!") or _MARKUP.search(instruction)):
        return None
    if response.startswith(("[", "<", "(")) and (found := _RESPONSE.fullmatch(response)):
        return found[0]
    if response.startswith(("![", "<")) and (found := _IMAGE_LINK.fullmatch(response)):
        return found[0]
    return None


def of_input(last: str, instruction: str) -> str | None:
    """The `last` line of `instruction`, if it is one bracket that stands for a text, a picture or a file.

    What the bracket describes in words can be asked about ("[Photo of a bridge in the forest]"), and a bracket in a
    form that the response is to have is none of the input.
    """
    if _DESCRIBES.search(last) or _FORM.search(instruction[-2000:]):
        return None
    if last.startswith("<") and (last.startswith("</") or instruction.count("<") > 1):
        return None  # the end of some markup
    found = _INPUT.fullmatch(last)
    return found[0] if found else None


_PICTURES = (
    r"image|picture|photo(?:graph)?s?|drawing|sketch|painting|illustration|figure|diagram|flow[ -]?chart|chart|graph"
    r"|screen ?shot|logo|graphic|infographic|visual(?:i[sz]ation)?|cartoon|comic|meme|map|mind ?map|word cloud"
)
_RECORDINGS = r"video|clip|gif|animation|audio|sound|song|music|melody|tune|recording"
_DOCUMENTS = (
    r"article|essay|poem|story|speech|text|document|paragraph|passage|lyrics|file|attachment|data ?set|spreadsheet"
    r"|excel sheet|table|presentation|website|web ?page|url|link"
)
_ATTACHED = r"insert|attach(?:ed)?|included?"
_INSIDE = r"[^\[\]<>()\n=]"

_THING = (
    rf"(?:{_PICTURES}|{_RECORDINGS}|insert|attached|attachment|goes here|poster|vector|puzzle|web ?page|presentation"
)
_THING += r"|excel sheet|output|design)\b"
# Round brackets hold asides, too: there the word must be among the first, and the aside be short.
_RESPONSE = re.compile(
    rf"\[(?=[^\n]*?\b{_THING}){_INSIDE}{{3,160}}\]|<(?=[^\n]*?\b{_THING}){_INSIDE}{{3,160}}>"
    rf"|\((?=(?:[\w-]+ ){{0,2}}{_THING})[\w-]+(?: [\w-]+){{0,5}}\)",
    re.IGNORECASE,
)
_IMAGE_LINK = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)|<(?:img|picture|audio|video)\b[^>\n]*>", re.IGNORECASE)
_MARKUP = re.compile(r"\b(?:html|tags?|markup|markdown|embed|links?|urls?|code|source)\b", re.IGNORECASE)

_WORDS = (
    r"\s?(?!(?:from|in|on|of|use|using|see|it|this|these|based|for|with|by|as|note|hint|i|you|to|if|do|write)\b)"
    rf"(?=(?:[\w-]+[ ]){{0,2}}(?:{_PICTURES}|{_RECORDINGS}|{_DOCUMENTS}|{_ATTACHED})(?:\b|_))"
)
_INPUT = re.compile(
    rf"\[{_WORDS}{_INSIDE}{{3,110}}\]|<{_WORDS}{_INSIDE}{{3,110}}>|\({_WORDS}[\w.-]+(?: [\w.-]+){{0,5}}\)",
    re.IGNORECASE,
)
_DESCRIBES = re.compile(
    rf"\b(?:{_PICTURES})\b[^\n]* (?:of|showing|with)\b|\b(?:containing|is|are|was|should|must)\b|:", re.IGNORECASE
)
_FORM = re.compile(r"\b(?:form|format|template|structure|layout)\b", re.IGNORECASE)
