"""Spec strings: `name` or `name(option=literal, ...)`, the text form of a configured object."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from vintk_kit.errors import InputError


@dataclass(frozen=True)
class Spec:
    """A name with options, hashable and with one canonical text form.

    Attributes:
        name: Registry name, such as `vintk`.
        options: Sorted pairs of option name and literal value.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = field(default=())

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options)})"

    @property
    def kwargs(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return dict(self.options)


def parse_spec(text: str | Spec) -> Spec:
    """Parses `name(option=literal, ...)`.

    Args:
        text: The spec string. Values are Python literals; lists become tuples.

    Returns:
        The spec, its options sorted by name.

    Raises:
        InputError: If the text is no call with literal keyword arguments.
    """
    if isinstance(text, Spec):
        return text
    name, paren, _ = text.strip().partition("(")
    if not paren:
        if not name.strip():
            raise InputError(f"spec: got {text!r}; allowed: name or name(option=value, ...)")
        return Spec(name.strip())
    call = _parse_call(text, name)
    options = {keyword.arg: _literal(text, keyword.value) for keyword in call.keywords}
    return Spec(name.strip(), tuple(sorted(options.items())))


def _parse_call(text: str, name: str) -> ast.Call:
    # Registry names hold hyphens, so the name is swapped for an identifier before parsing.
    try:
        node = ast.parse("f" + text.strip()[len(name) :], mode="eval").body
    except SyntaxError as error:
        raise InputError(f"spec: got {text!r}; allowed: name(option=value, ...)") from error
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise InputError(f"spec: got {text!r}; allowed: keyword options only, as in name(option=value)")
    return node


def _literal(text: str, node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise InputError(f"spec: got {text!r}; allowed: numbers, strings or lists") from error
    return tuple(value) if isinstance(value, list) else value


def split_specs(text: str) -> list[str]:
    """Splits a comma-separated list of specs, keeping commas inside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]
