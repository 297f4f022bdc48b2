"""Arrays written into zarr folders: whatever format and metadata a folder has, all that it holds is found afterwards."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from diffcomb.io import array_names, open_array, save_array
from diffcomb.io.volumes import new_array

zarr = pytest.importorskip("zarr")


def consolidate(folder, group=""):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # format 3 does not define it yet
        zarr.consolidate_metadata(str(folder), path=group)


def make_group(path, kind):
    group = zarr.open_group(path, mode="w", zarr_format=kind)
    group.create_array("raw", data=np.arange(5))
    group.create_group("sub").create_array("seeds", data=np.arange(2))


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("name", ["labels", "raw", "sub/labels", "new/of/all"])
def test_groups_keep_their_format_and_show_old_and_new_arrays(kind, name, tmp_path):
    make_group(tmp_path / "a.zarr", kind)
    save_array(f"{tmp_path}/a.zarr:{name}", np.full(7, 3))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r", use_consolidated=False)
    assert {group.metadata.zarr_format, group[name].metadata.zarr_format} == {kind}
    assert {"raw", "sub/seeds", name} <= {key for key, _ in group.members(max_depth=None)}
    assert group[name][...].tolist() == [3] * 7
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("where", ["", "sub"])
def test_consolidated_metadata_tell_what_is_there(kind, where, tmp_path):
    make_group(tmp_path / "a.zarr", kind)
    consolidate(tmp_path / "a.zarr", where)
    for length in (7, 3):
        save_array(f"{tmp_path}/a.zarr:sub/labels", np.full(length, 3))
        group = zarr.open_group(tmp_path / "a.zarr", path=where, mode="r", use_consolidated=True)
        assert group["labels" if where else "sub/labels"].shape == (length,)


@pytest.mark.parametrize("kind", [2, 3])
def test_arrays_are_found_that_consolidated_metadata_do_not_tell_of(kind, tmp_path):
    make_group(tmp_path / "a.zarr", kind)
    consolidate(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+", use_consolidated=False)
    group.create_array("later", data=np.arange(4))
    assert array_names(tmp_path / "a.zarr") == {"raw", "sub/seeds", "later"}
    assert open_array(f"{tmp_path}/a.zarr:later")[...].tolist() == [0, 1, 2, 3]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.zarr", "b.zarr:labels", "b.zarr:sub/labels", "c.zarr:labels"])
def test_array_that_is_not_finished_leaves_the_folder_as_it_was(name, tmp_path):
    save_array(tmp_path / "a.zarr", np.ones(3))
    for old in ("labels", "sub/labels"):
        save_array(f"{tmp_path}/b.zarr:{old}", np.ones(3))
    before = contents(tmp_path)

    def write():
        with new_array(f"{tmp_path}/{name}", (1000,), np.float64, (10,)) as target:
            target[:10] = 5
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


def test_array_takes_the_place_of_one_of_the_whole_folder_and_keeps_its_format(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((2, 2)), zarr_format=2)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "a.zarr")
    save_array(tmp_path / "link.zarr", np.arange(3))
    assert open_array(tmp_path / "a.zarr")[...].tolist() == [0, 1, 2]
    assert open_array(tmp_path / "a.zarr").metadata.zarr_format == 2
    assert (tmp_path / "link.zarr").is_symlink()


def test_folder_stays_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    save_array(tmp_path / "a.zarr", np.ones(3))
    before = contents(tmp_path / "a.zarr")
    rename = Path.rename

    def fails(path, target):
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space left"):
        save_array(tmp_path / "a.zarr", np.zeros(5))
    assert contents(tmp_path / "a.zarr") == before
