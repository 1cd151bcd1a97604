"""Shell completion: verbs, `group=option` and keys of the root, from the file names in conf/ alone."""

from __future__ import annotations

VERBS = (
    *("train", "evaluate", "predict", "localise", "generate", "compare", "export", "check", "plan", "fetch", "cache"),
    *("bench", "list", "completion"),
)

SCRIPTS = {
    "bash": """_medexp() {
  local cur="${COMP_LINE:0:$COMP_POINT}"; cur="${cur##* }"
  local IFS=$'\\n'
  COMPREPLY=($(medexp _complete "${COMP_WORDS[1]}" "$cur" 2>/dev/null))
  [[ "$cur" == *=* ]] && COMPREPLY=("${COMPREPLY[@]#*=}")
  [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
  [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
}
complete -F _medexp medexp""",
    "zsh": """#compdef medexp
_medexp() {
  local -a found
  found=("${(@f)$(medexp _complete "${words[2]}" "${words[CURRENT]}" 2>/dev/null)}")
  compadd -S '' -- "${found[@]}" || _files
}
compdef _medexp medexp""",
    "fish": """complete -c medexp -f -a '(medexp _complete (commandline -opc)[2] (commandline -ct))'
complete -c medexp -n '__fish_seen_subcommand_from evaluate predict' -F""",
}


def script(shell: str) -> str:
    """What a shell evaluates to complete `medexp`."""
    return SCRIPTS[shell]


def candidates(words: list[str]) -> list[str]:
    """Completions of the last word; words = [verb (may be half typed), word under the cursor]."""
    from medexp.config import paths

    verb, word = [*words, "", ""][:2]
    if verb == word or verb not in VERBS:
        return [name for name in VERBS if name.startswith(word)]
    if verb == "completion":
        return [name for name in SCRIPTS if name.startswith(word)]
    if verb == "list":
        return [name for name in paths.groups() if name.startswith(word)]
    if verb == "fetch":
        return [name for name in paths.options("dataset") if name.startswith(word)]
    if verb in ("cache", "bench"):
        from medexp.run.bench import PARTS

        choices = {"cache": ("list", "verify", "prune"), "bench": (*PARTS, "all")}[verb]
        return [name for name in choices if name.startswith(word)]
    if verb not in ("train", "check", "plan"):
        return []
    group, equals, typed = word.partition("=")
    if not equals:
        keys = [*paths.groups(), "seed", "run_dir", "resume", "name", "monitor", "mode"]
        return [f"{name}=" for name in sorted(keys) if name.startswith(word)]
    done, _, last = typed.rpartition(",")  # in a sweep: model=unet,dyn<TAB>
    before = f"{group}={done}," if done else f"{group}="
    return [before + name for name in paths.options(group) if name.startswith(last)]
