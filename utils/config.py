"""Config files (v1.5's INI and YAML) into one validated, frozen object, whose shape a dataclass schema gives."""

from __future__ import annotations

import ast
import configparser
import contextlib
import dataclasses
import math
import os
import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.paths import find_path, looked_in
from video_zoo.utils.registry import did_you_mean
from video_zoo.utils.texts import CONFIG_BYTES, read_text
from video_zoo.utils.yaml_files import check_numbers, parse_yaml

Schema = TypeVar("Schema")
Values = dict[str, dict[str, Any]]  # section -> key -> value
Sources = dict[str, Values]  # where they were given: a file's path, or COMMAND_LINE
COMMAND_LINE = "command line"
_FILES = ("filelist", "class_names")  # keys whose values are paths of files that are read
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)  # what ast.literal_eval may raise

_short = reprlib.Repr()  # of values in messages
_short.maxlevel, _short.maxstring, _short.maxother = 3, 400, 400


def key(
    default: Any,
    help: str,
    *,
    choices: tuple | None = None,
    low: float | None = None,
    high: float | None = None,
    fixed: bool = False,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """One key of a section: its default, one line of explanation, and the values allowed, `low` to `high`. `fixed`:
    trained weights can be used only with the value that they were trained with. `presets`: what a value of it gives
    other keys of the section, where they are not set in the same source or in a later one."""
    limits = {"help": help, "choices": choices, "low": low, "high": high, "fixed": fixed, "presets": presets or {}}
    return dataclasses.field(default=default, metadata=limits)


def load(
    path: str,
    schema: type[Schema],
    overrides: Values | None = None,
    models: Mapping[str, type] | None = None,
    model: str | None = None,
) -> Schema:
    """Reads a config file, lays `overrides` over it, and checks both against `schema`; see `read` and `check`."""
    return check({path: read(path), COMMAND_LINE: overrides or {}}, schema, models, model)


def check(
    sources: Sources, schema: type[Schema], models: Mapping[str, type] | None = None, model: str | None = None
) -> Schema:
    """The config that the sources give together, of which a later one wins.

    Args:
        schema: a frozen dataclass of frozen dataclasses, one a section.
        models: each model's name -> the class of its MODEL section, a subclass of the schema's.
        model: whose MODEL section it is, one of `models`; None: what MODEL.name says, or else the schema's own.

    Raises:
        InputError: a section or key is unknown, with the nearest known one, or is another model's; a value has the
            wrong type or is out of range.
    """
    models, known = models or {}, typing.get_type_hints(schema)
    for source, given in sources.items():
        for section in given:
            if section not in known:
                near = did_you_mean(section, list(known))
                raise InputError(f"{source}: no section {section!r}{near} Known: {', '.join(known)}.")
    name = (model or str(find(sources, "MODEL", "name"))).upper()
    known["MODEL"] = models.get(name, known["MODEL"])
    built = {}
    for section, kind in known.items():
        others = models if section == "MODEL" else {}
        layers = [_check(source, section, given.get(section, {}), kind, others) for source, given in sources.items()]
        built[section] = kind(**_merge(layers, kind))
    return schema(**built)


def _merge(layers: list[dict[str, Any]], schema: type) -> dict[str, Any]:
    """The values of one section, of which a later layer wins; presets stand just before the layer that names them."""
    merged: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        for field in dataclasses.fields(schema):
            if field.name in layer and not any(field.name in later for later in layers[number + 1 :]):
                merged.update(field.metadata["presets"].get(layer[field.name], {}))
        merged.update(layer)
    return merged


def find(sources: Sources, section: str, item: str) -> Any:
    """The value of a key in the last of the sources that has it, unchecked; None if none has."""
    found = [given[section][item] for given in sources.values() if item in given.get(section, {})]
    return found[-1] if found else None


def parse_override(text: str) -> tuple[str, str, Any]:
    """`SECTION.key=value` -> (section, key, value). The value is a Python literal, or else text.

    Raises InputError if the form is another.
    """
    name, equals, value = text.partition("=")
    section, dot, item = name.strip().partition(".")
    if not (equals and dot and section and item):
        raise InputError(f"--set {text}: the form is --set SECTION.key=value, as in --set TRAIN.batch_size=16")
    try:
        value = _literal(value.strip())
    except _NO_LITERAL:
        value = value.strip()
    return section.upper(), item.lower(), value


def ignored_keys(sources: Sources, schema: type) -> list[str]:
    """What the sources set that has no effect in this port, one line each."""
    hints = typing.get_type_hints(schema)
    lines = []
    for source, given in sources.items():
        for section, values in given.items():
            ignored = getattr(hints.get(section), "IGNORED", {})
            keys = [item for item in values if item in ignored]
            lines += [f"{source}: {section}.{item} has no effect: {ignored[item]}" for item in keys]
    return lines


def describe(config: Any, sections: list[str]) -> list[str]:
    """One line a section: every key that is set, and its value."""
    lines = []
    for section in sections:
        keys = dataclasses.asdict(getattr(config, section))
        said = [f"{name}={_short.repr(value)}" for name, value in keys.items() if value is not None]
        lines.append(f"{section}: {' '.join(said)}")
    return lines


def write(path: Path, config: Any, comment: str) -> None:
    """Writes a config as YAML, every key that is set or that a preset would set, so that `load` gives the same
    again.

    Raises InputError.
    """
    import yaml

    sections = {
        name: {
            item: list(value) if isinstance(value, tuple) else value
            for item, value in keys.items()
            if value is not None or item in _preset_keys(getattr(config, name))
        }
        for name, keys in dataclasses.asdict(config).items()
    }
    with atomic_file(path) as file:
        file.write(f"# {comment}\n")
        yaml.safe_dump(sections, file, sort_keys=False, allow_unicode=True)


def _preset_keys(section: Any) -> set[str]:
    """The keys to which a section's presets give values, where they are left out."""
    fields = dataclasses.fields(section)
    return {item for field in fields for item in field.metadata["presets"].get(getattr(section, field.name), ())}


def read(path: str) -> Values:
    """The values of a config file, unchecked: a `.yaml` or `.yml` file, or else v1.5's INI, whose values are Python
    literals. Raises InputError if it is missing, or is neither."""
    file = Path(path)
    try:
        text = read_text(path, f"the config file {path}", CONFIG_BYTES)
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        beside = sorted(str(other) for other in file.parent.glob("*") if other.suffix in (".txt", ".yaml", ".yml"))
        raise InputError(f"no config file {path}{looked_in(path)}{did_you_mean(str(file), beside)}") from None
    return _read_yaml(path, text) if file.suffix in (".yaml", ".yml") else _read_ini(path, text)


def with_files_beside(values: Values, *folder: str | os.PathLike) -> Values:
    """The values, with the paths of lists and class names as `find_path` finds them; those that are nowhere stay."""
    return {
        section: {
            item: find_path(value, *folder) or value if item in _FILES and isinstance(value, str) and value else value
            for item, value in each.items()
        }
        for section, each in values.items()
    }


def _read_yaml(path: str, text: str) -> Values:
    try:
        document = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{path} is no YAML: {error}") from error
    if not isinstance(document, dict) or any(part and not isinstance(part, dict) for part in document.values()):
        raise InputError(f"{path}: a config is sections (MODEL, TRAIN ...) of `key: value` lines")
    return {
        str(name).upper(): {str(item).lower(): value for item, value in (section or {}).items()}
        for name, section in document.items()
    }


def _literal(text: str) -> Any:
    """The value of a Python literal. Raises one of _NO_LITERAL."""
    return check_numbers(ast.literal_eval(text))


def _read_ini(path: str, text: str) -> Values:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, source=path)
    except configparser.Error as error:
        raise InputError(f"{path} is no INI file: {error}".replace("\n", " ")) from error
    values: Values = {}
    for section in parser.sections():
        items = values.setdefault(section.upper(), {})
        for item, literal in parser.items(section):
            try:
                items[item] = _literal(literal)
            except _NO_LITERAL:
                raise InputError(
                    f"{path}: {section}.{item} = {literal} is no Python literal: a number, True, [1, 2], or text in"
                    " quotes"
                ) from None
    return values


def _check(
    source: str, section: str, values: dict[str, Any], schema: type, models: Mapping[str, type]
) -> dict[str, Any]:
    """The values of one section in their right types, without those that have no effect.

    `models` are the classes that the section has for other models, by the models' names.
    """
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = typing.get_type_hints(schema)
    checked = {}
    for item, value in values.items():
        if item in schema.IGNORED:
            continue
        if item not in fields:
            owners = {
                name: field.default
                for name, other in models.items()
                for field in dataclasses.fields(other)
                if field.name == item
            }
            if value in owners.values():
                continue  # version 0.1 wrote every model's keys, with their defaults, into each config.yaml
            hint = did_you_mean(item, list(fields))
            if owners:
                hint = f" for {fields['name'].default or 'all models'}; it is a key of {' and '.join(owners)}"
            raise InputError(f"{source}: no key {section}.{item}{hint}")
        what = f"{source}: {section}.{item} = {_short.repr(value)}"
        try:
            checked[item] = _convert(value, hints[item])
        except TypeError:
            raise InputError(f"{what} must be {_type_name(hints[item])}") from None
        _check_range(what, checked[item], fields[item].metadata)
    return checked


def _convert(value: Any, hint: Any) -> Any:
    """`value` as the type `hint`, where nothing is lost by it. Raises TypeError otherwise."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:  # Optional[X], or several
        if value is None:
            return None
        for kind in arguments[:-2]:
            with contextlib.suppress(TypeError):
                return _convert(value, kind)
        return _convert(value, arguments[-2])
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise TypeError
        return tuple(_convert(item, arguments[0]) for item in value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4, without a point, as text
        try:
            return float(value)
        except ValueError:
            raise TypeError from None
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if type(value) is not hint:
        raise TypeError
    return value


def _check_range(what: str, value: Any, limits: Mapping[str, Any]) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_range(what, item, limits)
        return
    if None not in (limits["choices"], value) and value not in limits["choices"]:
        near = did_you_mean(str(value), map(str, limits["choices"])).rstrip(".")
        raise InputError(f"{what}: choose from {', '.join(map(str, limits['choices']))}{near}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{what}: must be finite")
    if limits["low"] is not None and value is not None and value < limits["low"]:
        raise InputError(f"{what}: must be at least {limits['low']}")
    if limits["high"] is not None and value is not None and value > limits["high"]:
        raise InputError(f"{what}: must be at most {limits['high']}")


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        return " or ".join(map(_type_name, arguments[:-1]))
    if origin is tuple:
        length = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{length}, each {_type_name(arguments[0])}"
    return {int: "a whole number", float: "a number", bool: "True or False", str: "text"}[hint]
