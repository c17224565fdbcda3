"""What users give to inference, checked before there is any work."""

from __future__ import annotations

import difflib
import inspect
import operator
from collections.abc import Iterable, Mapping
from typing import Any, get_origin, get_type_hints

import torch
from torch import nn

from segblocks.tasks import HintTask, Task


def whole_number(caller: str, name: str, value: Any, *, least: int) -> int:
    """Return a whole number as ``int``.

    Args:
        caller: the function to name in errors.
        name: of its argument.
        value: what was given.
        least: the smallest that will do.

    Raises:
        TypeError: no whole number.
        ValueError: too small.

    Example:
        >>> whole_number("segment", "clip_length", 12, least=1)
        12
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{caller}: {name} must be a whole number, got {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{caller}: {name} must be at least {least}, got {number}")
    return number


def check_model(caller: str, model: Any) -> None:
    """Raise TypeError unless ``model`` is one that inference can talk to."""
    if isinstance(model, nn.Module) and callable(getattr(model, "video_policy", None)):
        return
    if isinstance(model, str):
        hint = f"; segblocks.create_model({model!r}) makes one of a name"
    elif isinstance(model, nn.Module):
        hint = ", which has no video_policy and so does not know how to go through a video"
    else:
        hint = ""
    got = repr(model) if isinstance(model, str) else type(model).__name__
    raise TypeError(
        f"{caller}: model must be a video model such as create_model(...) returns, got {got}{hint}"
    )


def check_settings(
    caller: str, model: nn.Module, settings: Mapping[str, Any], own: Iterable[str]
) -> None:
    """Refuse settings that neither the caller nor the model's policy knows.

    Args:
        caller: the function to name in errors.
        model: whose ``video_policy`` gets them. Where its signature does not say what it takes,
            nothing is checked.
        settings: that were given.
        own: names of the caller's other keyword arguments.

    Raises:
        TypeError: an unknown one; close and known names are listed.
    """
    known = _settings_of(model)
    if known is None:
        return
    for name in settings:
        if name not in known:
            names = sorted({*own, *known} - {name})
            close = difflib.get_close_matches(name, names, n=3)
            hint = f" did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise TypeError(
                f"{caller}: {type(model).__name__} has no setting {name!r};{hint} known: "
                f"{', '.join(names)}"
            )


def check_hints(tasks: Iterable[Task], num_frames: int, name: str) -> None:
    """Refuse hints beyond the end of a video.

    Args:
        tasks: that were asked for.
        num_frames: of the video.
        name: of the video.

    Raises:
        ValueError: names the first such frame.
    """
    for task in tasks:
        late = [t for t in task.hints if t >= num_frames] if isinstance(task, HintTask) else []
        if late:
            raise ValueError(
                f"{type(task).__name__}: hints must lie on frames 0 to {num_frames - 1} of {name}, "
                f"which has {num_frames} frames; got frame {late[0]}"
            )


def find_device(device: str | torch.device, argument: str = "device") -> torch.device:
    """Return a device that is really there.

    Args:
        device: such as ``cuda:1``.
        argument: what the user calls it.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Torch adds the C++ stack to its message.
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{argument} {device}: not to be had here ({reason})") from error
    return found


def _settings_of(model: nn.Module) -> set[str] | None:
    """The names that ``video_policy`` takes; None where its signature does not say."""
    make: Any = model.video_policy
    names, is_open = _keywords(make)
    if not is_open:
        return names
    try:
        returned = get_type_hints(make).get("return")
    except NameError:  # an annotation of names that are not there at run time
        return None
    policy = get_origin(returned) or returned
    if not isinstance(policy, type) or getattr(policy, "_is_protocol", False):
        return None
    more, is_open = _keywords(policy)
    return None if is_open else names | more


def _keywords(function: Any) -> tuple[set[str], bool]:
    """Names of the parameters after the first, the task, and whether any others are taken too."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    names = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)
