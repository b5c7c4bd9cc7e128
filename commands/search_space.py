"""What a search looks through, where the command line has a word in it."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback


class FixedKeys(Callback):
    """Says at a search's start which keys of its space the command line fixes: the sweeper leaves
    them out in silence."""

    def on_multirun_start(self, config, **kwargs) -> None:
        space = config.hydra.sweeper.get("params") or {}
        given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        fixed = [
            override.input_line
            for override in given
            if override.key_or_group in space and not override.is_sweep_override()
        ]
        if fixed:
            print(f"{', '.join(fixed)}: as the command says, and not searched", flush=True)
