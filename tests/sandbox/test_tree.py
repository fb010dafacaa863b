"""What is put together before a sandbox starts is the layout, piece by piece."""

from __future__ import annotations

from pathlib import Path

from aar.outside.sandbox.argv import Bind, Layout
from aar.outside.sandbox.tree import Tree, tree_of


def test_a_tree_has_each_piece_where_the_layout_has_it(tmp_path: Path) -> None:
    for name in ("site/numpy", "lib/python3", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "site/one.so").touch()
    binds = (
        Bind(f"{tmp_path}/site/numpy", "/opt/site/numpy"),
        Bind(f"{tmp_path}/site/one.so", "/opt/site/one.so"),
        Bind(f"{tmp_path}/lib/python3", "/usr/lib/python3"),
        Bind(f"{tmp_path}/elsewhere", "/srv/elsewhere"),
    )
    masks = ("/usr/lib/python3/site-packages", "/srv/elsewhere/secret")
    layout = Layout(binds=binds, masks=masks, symlinks=(("usr/lib", "/lib"),), hidden_proc=("/proc/keys",))
    places = {
        f"{tmp_path}/site/numpy": "/stage/0",
        f"{tmp_path}/site": "/stage/1",
        f"{tmp_path}/lib/python3": "/stage/2",
        f"{tmp_path}/elsewhere": "/stage/3",
    }
    assert tree_of(layout, places) == Tree(
        lowers=("/stage/1", "/stage/2", "/stage/3"),
        folders=("/opt", "/opt/site", "/opt/site/numpy", "/usr", "/usr/lib", "/usr/lib/python3"),
        files=("/opt/site/one.so",),
        pieces=(
            (0, "/numpy", "/opt/site/numpy"),
            (0, "/one.so", "/opt/site/one.so"),
            (1, "", "/usr/lib/python3"),
        ),
        masks=("/usr/lib/python3/site-packages",),
        tops=("/usr", "/opt"),
        rest=Layout(
            binds=(Bind("/.lower/2", "/srv/elsewhere"),),
            masks=("/srv/elsewhere/secret",),
            symlinks=layout.symlinks,
            hidden_proc=layout.hidden_proc,
        ),
    )
