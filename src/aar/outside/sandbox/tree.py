"""A view put together beforehand: a tree on the stage, of which bubblewrap binds the top and not each piece.

bubblewrap reads the whole list of mounts again after every bind: thirty pieces cost it 10 ms, two cost one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from aar.outside.sandbox import runtime
from aar.outside.sandbox.argv import Bind, Layout
from aar.outside.sandbox.spec import SandboxUnavailable
from aar.outside.sandbox.stage import Stage, bind, mount_tree, overlay, unbind

# What a layout has elsewhere, bubblewrap binds as ever.
_TOPS = ("/usr/", "/opt/")


@dataclass(frozen=True, slots=True)
class Tree:
    """What to make for one sandbox, by paths below the root of its tree; worked out once for each layout.

    `lowers` are the directories of the stage that it shows pieces of, `pieces` are (which of them, path
    within, path in the tree). `rest` is what is left for bubblewrap, its sources below the root of the tree.
    """

    lowers: tuple[str, ...]
    folders: tuple[str, ...]
    files: tuple[str, ...]
    pieces: tuple[tuple[int, str, str], ...]
    masks: tuple[str, ...]
    tops: tuple[str, ...]
    rest: Layout


def tree_of(layout: Layout, places: Mapping[str, str]) -> Tree:
    """How to make this layout, with its directories where `places` says."""
    directories = runtime.directories_of(layout)
    files: list[str] = []
    folders: set[str] = set()
    pieces: list[tuple[int, str, str]] = []
    left: list[Bind] = []
    for one in layout.binds:
        directory = runtime.directory_for(one.source, directories)
        at, path = directories.index(directory), one.source.removeprefix(directory)
        if not one.dest.startswith(_TOPS):
            left.append(Bind(f"/.lower/{at}{path}", one.dest))
            continue
        pieces.append((at, path, one.dest))
        folders |= {str(parent) for parent in PurePosixPath(one.dest).parents[:-1]}
        if os.path.isdir(one.source):
            folders.add(one.dest)
        else:
            files.append(one.dest)
    masks = tuple(mask for mask in layout.masks if mask.startswith(_TOPS))
    return Tree(
        lowers=tuple(places[directory] for directory in directories),
        folders=tuple(sorted(folders)),
        files=tuple(files),
        pieces=tuple(pieces),
        masks=masks,
        tops=tuple(top for top in ("/usr", "/opt") if top in folders),
        rest=replace(layout, binds=tuple(left), masks=tuple(set(layout.masks) - set(masks))),
    )


def grown(tree: Tree, stage: Stage, number: int, staged: list[str]) -> Layout:
    """Make it for sandbox `number`; the layout that is left. Its root is added to `staged`."""
    root = mount_tree(stage, f"tree-{number}")
    try:
        for at, lower in enumerate(tree.lowers):
            place = f"{root}/.lower/{at}"
            os.makedirs(place, 0o755)
            # Inodes of its own, where the kernel can: on shared ones two sandboxes talk by locks, 250 bit/s.
            if stage.has_views:
                overlay(stage, lower, place)
            else:
                bind(lower, place)
        os.mkdir(f"{root}/.empty", 0o755)
        for folder in tree.folders:
            os.mkdir(root + folder, 0o755)
        for file in tree.files:
            os.close(os.open(root + file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        for at, path, dest in tree.pieces:
            bind(f"{root}/.lower/{at}{path}", root + dest)
        for mask in tree.masks:
            bind(f"{root}/.empty", root + mask)
    except (SandboxUnavailable, OSError):
        unbind(root)
        raise
    staged.append(root)
    tops = tuple(Bind(root + top, top) for top in tree.tops)
    others = tuple(Bind(root + one.source, one.dest) for one in tree.rest.binds)
    return replace(tree.rest, binds=(*tops, *others))
