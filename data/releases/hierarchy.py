"""Names of classes and of their groups, made distinct."""

import collections

Lineage = tuple[str, ...]  # the groups of a class, from the finest to the coarsest


def distinct_names(names: dict[str, str]) -> dict[str, str]:
    """Returns the names by key; a name that several keys share is followed by its key."""
    counts = collections.Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def distinct_groups(lineages: dict[str, Lineage]) -> dict[str, Lineage]:
    """Returns the lineages, in which different groups of a level have different names.

    A name that stands for several groups is followed by the group above it: the genus Morus of
    birds and that of plants become "Morus (Sulidae)" and "Morus (Moraceae)".
    """
    depth = max(map(len, lineages.values()), default=0)
    distinct: dict[str, Lineage] = dict.fromkeys(lineages, ())
    for level in reversed(range(depth)):
        above: dict[str, set[Lineage]] = collections.defaultdict(set)
        for key, lineage in lineages.items():
            above[lineage[level]].add(distinct[key][:1])
        for key, lineage in lineages.items():
            name = lineage[level]
            if len(above[name]) > 1:
                name = f"{name} ({distinct[key][0]})"
            distinct[key] = (name, *distinct[key])
    return distinct
