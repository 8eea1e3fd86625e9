"""Shell completion of plugin names, from the catalogue: nothing is imported for it."""

from __future__ import annotations

from collections.abc import Callable

from pfh.registry.catalogue import Catalogue, Kind


def plugin_names(kind: Kind) -> Callable[[str], list[tuple[str, str]]]:
    """Return a completer that offers the installed plugins of `kind`, with their summaries."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [
            (plugin.name, plugin.summary)
            for plugin in Catalogue()
            if plugin.kind == kind and plugin.name.startswith(incomplete)
        ]

    return complete
