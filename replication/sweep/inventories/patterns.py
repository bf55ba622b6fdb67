"""Writes the globs of a rule as regular expressions that RE2 (DuckDB) and Joni (Trino) share.

Both engines read these expressions alike: no flags, no lookahead, no set operations.
"""

# `.` does not match a line break without a flag.
_ANYTHING = r"[\s\S]*"
_NOTHING = r"[^\s\S]"


def regexp_of_suffix(suffix: str) -> str:
    """The expression that keys with this suffix match."""
    return _literal(suffix) + r"\z"


def regexp_of_glob(glob: str) -> str:
    """The expression that the whole key matches if the glob does; see mapping/filters.py.

    Args:
        glob: a valid glob, as `parse_globs` returns it.
    """
    parts, at = [r"\A"], 0
    while at < len(glob):
        if glob.startswith("**/", at) and glob[at - 1 : at] in {"", "/"}:
            parts.append(f"(?:{_ANYTHING}/)?")
            while glob.startswith("**/", at):  # a repeated one adds nothing
                at += 3
        elif glob.startswith("**", at):
            parts.append(_ANYTHING)
            at += 2
        elif glob[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif glob[at] == "[":
            # A `]` as the first character is a member.
            end = glob.index("]", at + (3 if glob.startswith("!", at + 1) else 2))
            parts.append(_class(glob[at + 1 : end]))
            at = end + 1
        else:
            parts.append(_literal(glob[at]))
            at += 1
    return "".join([*parts, r"\z"])


def _literal(text: str) -> str:
    return "".join(f"\\{each}" if each in r"\.^$|?*+()[]{}" else each for each in text)


def _class(content: str) -> str:
    """The expression of a class of characters, which never matches a slash."""
    is_negated = content[0] == "!"
    members, at = "", 1 if is_negated else 0
    while at < len(content):
        if content[at + 1 : at + 2] == "-" and at + 2 < len(content):
            members += _span(content[at], content[at + 2])
            at += 3
        else:
            members += _member(content[at])
            at += 1
    if is_negated:
        return f"[^{members}/]"
    return f"[{members}]" if members else _NOTHING


def _span(first: str, last: str) -> str:
    """The range without a slash."""
    if not first <= "/" <= last:
        return f"{_member(first)}-{_member(last)}"
    before = _span(first, ".") if first < "/" else ""
    after = _span("0", last) if last > "/" else ""
    return before + after


def _member(character: str) -> str:
    # Joni takes `[` and `&&` in a class for set operations.
    return f"\\{character}" if character in r"\[]^-&" else character
