"""HTML by construction: text and attributes are escaped unless they are markup already. Pure."""

from html import escape


class Markup(str):
    """Text that is HTML already; made by `tag` only."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: str) -> Markup:
    """An element. Children that are no markup are escaped, None is nothing; `class_` gives `class`."""
    written = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """One piece of markup out of several children, escaped where they are none."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(str(child))
            for child in children
            if child is not None
        )
    )


_VOID = frozenset({"link", "meta", "br"})
