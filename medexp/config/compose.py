"""Composition: names and overrides in, one resolved config out. Hydra does the work; its errors become one line each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from medexp.config import paths
from medexp.config.root import Root
from medexp.errors import Faults, UserError, nearest
from medexp.targets import KINDS

# Keys that runs of earlier versions have not written, as they were then.
SINCE: dict[str, Any] = {"init": {"_target_": "medexp.transfer.weights.Weights"}, "degradation": {}, "learning": {}}


class OwnConf(SearchPathPlugin):
    """Puts the user's ./conf before the shipped one (Hydra's --config-dir only appends), and `first` before both."""

    first: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in (paths.own(), OwnConf.first):
            if folder is not None:
                search_path.prepend(provider="own", path=folder.as_uri())


def _register() -> None:
    if OwnConf not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(OwnConf)
    ConfigStore.instance().store(name="root", node=Root)
    OmegaConf.register_new_resolver("count", len, replace=True)
    OmegaConf.register_new_resolver("count_or_one", lambda classes: max(len(classes), 1), replace=True)
    OmegaConf.register_new_resolver("better", better, replace=True)
    OmegaConf.register_new_resolver("thresholds", lambda classes: len(classes) - 1, replace=True)
    OmegaConf.register_new_resolver("classes_or_none", lambda classes: len(classes) + 1, replace=True)
    OmegaConf.register_new_resolver("either", lambda one, other: one or other, replace=True)
    OmegaConf.register_new_resolver("sum", lambda one, other: one + other, replace=True)
    OmegaConf.register_new_resolver("shape_of", lambda channels, size: [channels, *(size or ())], replace=True)
    OmegaConf.register_new_resolver("product", lambda one, other: one * other, replace=True)
    OmegaConf.register_new_resolver("box_outputs", lambda classes, axes: len(classes) + 2 * axes, replace=True)


def better(name: str) -> str:
    """Whether a monitored value is better when smaller ("min": losses, errors, distances) or larger ("max")."""
    smaller = ("loss", "error", "mae", "mse", "rmse", "hd95", "asd", "mmd")
    return "min" if any(word in name.rsplit("/", 1)[-1].split("_") for word in smaller) else "max"


def root_keys() -> list[str]:
    return list(Root.__dataclass_fields__)


def compose(overrides: list[str], first: Path | None = None) -> DictConfig:
    """The composed config of `medexp train OVERRIDES`, interpolations still in place. first: a folder of leaves that
    goes before all others (the plan of `plan=auto`).

    A dotted override may set any argument of the node's `_target_`, listed in the leaf or not: `config.check`
    holds it against the signature. Raises UserError (one line) for everything that cannot be composed.
    """
    _register()
    OwnConf.first = first
    GlobalHydra.instance().clear()
    prepared = [ready for text in overrides if (ready := _open_up(text))]
    try:
        with initialize_config_dir(str(paths.shipped().resolve()), version_base="1.3", job_name="train"):
            cfg = hydra_compose("train", prepared, return_hydra_config=True)
            choice = cfg.hydra.runtime.choices.get("experiment")
    except (HydraException, OmegaConfBaseException, ValueError, YAMLError) as error:
        raise UserError(_explain(error, overrides)) from None
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra", None)
    if unknown := [str(key) for key in cfg if key not in root_keys()]:  # +key=value goes past the typed root
        raise UserError(f"{unknown[0]}: no such key{_or_list(unknown[0], root_keys(), 'known')}")
    if choice and not any(text.split("=")[0] == "name" for text in overrides):
        cfg.name = str(choice)
    if any("._target_=" in text for text in overrides):
        from medexp.config.exchange import forget

        forget(cfg, overrides)
    OmegaConf.set_struct(cfg, True)
    return cfg


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, every interpolation replaced; where a task learns from images alone, classes that were not given are none.
    Raises UserError where a value cannot be resolved."""
    kind = KINDS.get(str(OmegaConf.select(cfg, "task.target")))
    if kind is not None and not kind.provides and OmegaConf.is_missing(cfg.dataset, "classes"):
        cfg = OmegaConf.merge(cfg, {"dataset": {"classes": []}})  # type: ignore[assignment]
    missing = _missing(OmegaConf.to_container(cfg, resolve=False))
    if len(missing) > 1:
        given = [f"{key}: has no value yet; give {key}=..." for key in missing]
        raise Faults(f"{len(missing)} values are missing", given)
    if missing:
        raise UserError(f"{missing[0]}: has no value yet; give {missing[0]}=...")
    try:
        resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or "?"
        raise UserError(f"{key}: {str(error).splitlines()[0]}; set {key}=... or mend the interpolation") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _missing(node: Any, path: str = "") -> list[str]:
    """Keys whose value is still `???`."""
    if node == "???":
        return [path]
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, child in children for found in _missing(child, f"{path}.{key}" if path else str(key))]


def parse(overrides: list[str]) -> list[Any]:
    """Hydra's override grammar; UserError names the override that cannot be read."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            hint = "write key=value"
            if "=" in text:
                hint = f"values with special characters need quotes of their own: {_quoted(*text.split('=', 1))}"
            raise UserError(f"override '{text}' cannot be read ({str(error).splitlines()[0]}); {hint}") from None
    return parsed


def _quoted(key: str, value: str) -> str:
    """An override as a shell and then Hydra's grammar take it: texts in quotes of their own, in a list each."""
    if not (value.startswith("[") and value.endswith("]")):
        return f"\"{key}='{value}'\""
    entries = [entry.strip().strip("'\"") for entry in value[1:-1].split(",")]
    quoted = ",".join(f'"{entry}"' for entry in entries)
    return f"'{key}=[{quoted}]'"


def _open_up(text: str) -> str:
    """An override as Hydra is to see it.

    `model.dropout=0.1` may add a key that the leaf does not list: what is allowed is the signature's business.
    `logger=null` leaves a group out.
    """
    (override,) = parse([text])
    key = str(override.key_or_group)
    if re.split(r"[./@]", key)[0] == "hydra":
        raise UserError(
            f"{text}: medexp keeps its own run folders; use run_dir=PATH (one run) or name=NAME (outputs/NAME/<time>)"
        )
    plain = not text.startswith(("+", "~"))
    if plain and override.is_sweep_override():
        raise UserError(f"{text}: several values; run them all with `medexp train -m`, or write [a,b] for a list")
    if plain and key in paths.groups():
        if override.value() is None:
            return "" if key in ("experiment", "plan", "debug") else f"~{key}"
        if not isinstance(override.value(), str | list):
            raise UserError(
                f"{text}: name an option (`medexp list {key}`), or give its keys one by one: {key}.KEY=VALUE"
            )
    return f"++{text}" if plain and "." in key else text


def _or_list(word: str, allowed: list[str], noun: str) -> str:
    """The near match, and all that is allowed."""
    return f"{nearest(word, allowed) or ';'} {noun}: {', '.join(allowed)}"


def _explain(error: Exception, overrides: list[str]) -> str:
    text = " ".join(str(error).split())
    if match := re.search(r"Could not find '([^']+)'", text):
        return _no_such_option(match.group(1))
    if match := re.search(r"(?:Could not override|In '[^']*': Could not find|Key) '([^']+)'", text):
        key = match.group(1).removeprefix("++").split("=")[0]
        known = sorted({*root_keys(), *paths.groups()})
        return f"{key}: no such key{_or_list(key.split('.')[0], known, 'known')}"
    if error.__cause__ is not None:
        text = " ".join(str(error.__cause__).split())
    key = getattr(error, "full_key", None) or (getattr(error.__cause__, "full_key", None) if error.__cause__ else None)
    value = next((item for item in overrides if key and item.lstrip("+").startswith(f"{key}=")), key or "config")
    return f"{value}: {text.split(' full_key:')[0]}"


def _no_such_option(path: str) -> str:
    group, _, option = path.partition("/")
    if group not in paths.groups():
        return f"{group}: no such config group{_or_list(group, paths.groups(), 'groups')}"
    known = list(paths.options(group))
    return f"{group}={option}: no such option{_or_list(option, known, 'options')}"


def load(path: Path) -> dict[str, Any]:
    """A config that was resolved and written earlier (RUN/config.yaml). Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(
            f"{path.parent}: not a run folder (no {path.name}); give the folder that `medexp train` printed"
        )
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # YAML and OmegaConf raise many kinds; all mean that the file is not ours
        raise UserError(f"{path}: not a medexp config: {str(error).splitlines()[0]}") from None
    if not isinstance(loaded, dict) or set(root_keys()) - set(map(str, loaded)) - set(SINCE):
        raise UserError(f"{path}: not a resolved medexp config; give the folder that `medexp train` printed")
    return {**SINCE, **{str(key): value for key, value in loaded.items()}}
