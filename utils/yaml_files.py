"""YAML as data: its aliases and numbers are bounded before anything is made of them."""

from __future__ import annotations

from typing import Any

_MOST_REPEATED = 100_000  # values that the aliases of a document repeat
_MOST_DEPTH = 32
_MOST_DIGITS = 100  # of a whole number; one that is longer takes a time that grows with the square of its length
_LARGEST_INT = 1 << 63


def parse_yaml(text: str) -> Any:
    """The value of a YAML document of plain values; None if it is empty.

    Raises ValueError: it is no YAML, has tags of more than plain values, is nested more than 32 levels deep, or holds a
    whole number of more than 64 bits; its aliases repeat more than 100,000 values, or one is within what it repeats.
    """
    import yaml  # here, so that a Python without it gets as far as saying so

    try:
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        if tree is None:
            return None
        counted: dict[int, int] = {}
        if _count_values(tree, counted, _MOST_DEPTH) - len(counted) > _MOST_REPEATED:
            raise ValueError(f"its aliases (*NAME) repeat more than {_MOST_REPEATED:,} values; write them out")
        return check_numbers(loader.construct_document(tree))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:  # !!int '', !!timestamp x
        raise ValueError("a value does not fit its tag") from error


def check_numbers(value: Any) -> Any:
    """The same value. Raises ValueError if a whole number in it has more than 64 bits: not all can be printed.

    Raises RecursionError if it is nested too deeply.
    """
    if isinstance(value, int) and not -_LARGEST_INT <= value < _LARGEST_INT:
        raise ValueError("a whole number of more than 64 bits")
    parts = (*value.keys(), *value.values()) if isinstance(value, dict) else value
    for part in parts if isinstance(parts, (list, tuple, set)) else ():
        check_numbers(part)
    return value


def _count_values(node: Any, counted: dict[int, int], depth: int) -> int:
    """The values of a YAML tree, each alias counted as what it repeats.

    Args:
        counted: id of a node -> its values; 0 while they are being counted.
        depth: the levels that may be below.

    Raises ValueError: an alias is within itself, it is nested too deeply, or a whole number has too many digits.
    """
    if id(node) in counted:
        if not counted[id(node)]:
            raise ValueError("an alias is within what it repeats")
        return counted[id(node)]
    if not depth:
        raise ValueError("it is nested too deeply")
    if node.tag.endswith(":int") and len(node.value) > _MOST_DIGITS:
        raise ValueError("a whole number of more than 64 bits")
    counted[id(node)] = 0
    parts = node.value if isinstance(node.value, list) else []
    below = (part for each in parts for part in (each if isinstance(each, tuple) else (each,)))
    counted[id(node)] = 1 + sum(_count_values(part, counted, depth - 1) for part in below)
    return counted[id(node)]
