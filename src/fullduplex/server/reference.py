"""The reference page of the settings: ``python -m fullduplex.server.reference > docs/reference/settings.md``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from fullduplex.server.settings import Setting, all_settings

HEAD = """\
# Settings of the server

<!-- Made by `python -m fullduplex.server.reference`; change the metadata in `fullduplex.server.config` instead. -->

Every setting has one name, used in four places. Of these the first that sets it wins:

1. the option of the `fullduplex` command (and of `manage.py serve`): `--ws-max-size 1048576`
2. the environment: `FULLDUPLEX_WS_MAX_SIZE=1048576`
3. a TOML file: `ws_max_size = 1048576`, in the table `[tool.fullduplex]` of `pyproject.toml` in the current directory,
   or at the top of the file that `--config FILE` or `FULLDUPLEX_CONFIG` names
4. the default

An unknown name is an error, in the environment and in the file as well. An empty variable counts as not set.

Lists are written with commas (`--bind 127.0.0.1:8000,unix:/run/app.sock`, or the option several times), and as arrays
in TOML. Options that switch something have a twin that switches it off: `--no-access-log`.
`fullduplex --check-config APP` prints what is in force and from where, and says why where a server would not start.

In Python the same values are fields of `fullduplex.server.config.ServerConfig`, under the names in the last column.
A value of the wrong kind or out of range is an error wherever it comes from.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD]
    for group, settings in groupby(all_settings().values(), key=lambda setting: setting.group):
        parts.append(f"\n## {group}\n\n| option | default | meaning | field |\n|---|---|---|---|\n")
        parts.extend(_row(setting) for setting in settings)
    return "".join(parts)


def _row(setting: Setting) -> str:
    meaning = setting.help.replace("|", "\\|")
    if setting.choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in setting.choices)}."
    return f"| {' '.join(_names(setting))} | {setting.show(setting.default)} | {meaning} | `{setting.path}` |\n"


def _names(setting: Setting) -> Iterator[str]:
    if not setting.flags:
        yield "`APP`"
    for flag in setting.flags:
        yield (
            f"`{flag}`" if setting.kind is bool else f"`{flag} {setting.metavar}`" if flag[:2] == "--" else f"`{flag}`"
        )


if __name__ == "__main__":
    print(page(), end="")
