"""Arrays and volumes in files: what is saved is opened again, and what lies beside it in the file stays."""

import numpy as np
import pytest
from array_files import npy_bytes, npz_bytes

from diffcomb import affinities, region_graph
from diffcomb.io import array_names, open_array, save_array
from diffcomb.io.volumes import check_output, new_array, split_path


@pytest.mark.parametrize("name", ["a.npy", "a.npz:labels", "a.h5:labels", "a.zarr", "b.zarr:labels"])
def test_arrays_are_saved_opened_and_taken_for_volumes(name, tmp_path):
    labels = np.arange(4 * 6 * 6).reshape(4, 6, 6) // 18
    save_array(tmp_path / name, labels)
    opened = open_array(tmp_path / name)
    assert np.array_equal(np.asarray(opened), labels)
    assert region_graph(opened).graph.num_edges == region_graph(labels).graph.num_edges
    found, known = affinities(opened, [(0, 0, 1)])
    assert np.array_equal(found, affinities(labels, [(0, 0, 1)])[0])
    assert known.any()


def test_arrays_that_are_not_there_are_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=1, b=2)
    with pytest.raises(ValueError, match=r"two\.npz: no name says which array is meant; .* the arrays are: a, b"):
        open_array(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="no name has an array 'c'"):
        open_array(f"{tmp_path}/two.npz:c")
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"an array must be FILE\.npy"):
        open_array(tmp_path / "a.tif")


@pytest.mark.parametrize("file", ["two.npz", "two.h5", "two.zarr"])
def test_saved_arrays_leave_others_alone(file, tmp_path):
    for name, value in (("a", 1), ("file", 2), ("a", 3)):
        save_array(f"{tmp_path}/{file}:{name}", np.full(3, value))
    assert [int(open_array(f"{tmp_path}/{file}:{name}")[0]) for name in ("a", "file")] == [3, 2]
    with pytest.raises(ValueError, match="holds a, file: name the array to write"):
        save_array(tmp_path / file, np.ones(3))


@pytest.mark.parametrize("file", ["two.npy", "two.h5:b"])
def test_array_that_is_not_finished_leaves_the_file_as_it_was(file, tmp_path):
    path = split_path(tmp_path / file)[0]
    save_array(tmp_path / file.replace(":b", ":a"), np.ones(3))
    before = path.read_bytes()

    def write():
        with new_array(tmp_path / file, (1000,), np.float64, (10,)) as target:
            target[:10] = 5
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("file", ["deep.h5", "deep.zarr"])
def test_groups_are_not_replaced_by_arrays(file, tmp_path):
    save_array(f"{tmp_path}/{file}:group/a", np.ones(3))
    with pytest.raises(ValueError, match="group is a group of arrays: choose another name"):
        save_array(f"{tmp_path}/{file}:group", np.zeros(3))
    with pytest.raises(ValueError, match="group/a is an array and cannot hold 'group/a/b'"):
        save_array(f"{tmp_path}/{file}:group/a/b", np.zeros(3))
    with pytest.raises(ValueError, match="holds group, group/a: name the array to write"):
        save_array(tmp_path / file, np.zeros(3))
    assert open_array(f"{tmp_path}/{file}:group/a")[...].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "this is no such file of numpy"),
        ("a.npy", npy_bytes(np.ones(100))[:200], "mmap length is greater than file size"),
        ("a.npy", npz_bytes(a=1), "this is no such file of numpy"),
        ("a.npy", npy_bytes(np.array([{}])), "holds Python objects, which are not loaded"),
        ("a.npz", npz_bytes(a=np.ones(100))[:200], "damaged, incomplete"),
        ("a.h5", b"x", "file signature not found"),
        ("a.zarr", b"x", "this is no zarr array or group"),
    ],
)
def test_damaged_arrays_are_named_and_not_replaced(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        open_array(tmp_path / name)
    if name != "a.npy":
        with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
            save_array(tmp_path / name, np.ones(3))
        assert (tmp_path / name).read_bytes() == content


def test_names_of_links_in_hdf5_are_followed(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/raw"] = np.arange(3)
        file["soft"], file["both"] = h5py.SoftLink("/group/raw"), h5py.SoftLink("/group")
        file["hard"] = file["group/raw"]
        file["nowhere"] = h5py.SoftLink("/none")
    for name in ("soft", "hard", "both/raw"):
        assert open_array(f"{tmp_path}/a.h5:{name}")[...].tolist() == [0, 1, 2]
    for name in ("nowhere", "both"):
        with pytest.raises(ValueError, match=f"no name has an array '{name}'"):
            open_array(f"{tmp_path}/a.h5:{name}")
    with pytest.raises(ValueError, match="both is a group of arrays"):
        save_array(f"{tmp_path}/a.h5:both", np.ones(3))


def test_damaged_neighbours_are_said_before_and_after_the_work(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, old=np.arange(1000) % 7)
    content = bytearray(file.read_bytes())
    content[60:70] = bytes(10)
    file.write_bytes(content)
    for write in (lambda path: check_output(path, "b.npy", in_pieces=False), lambda path: save_array(path, np.ones(3))):
        with pytest.raises(ValueError, match=r"a\.npz: .*(damaged|CRC)"):
            write(f"{file}:new")
    assert file.read_bytes() == content


def test_folder_that_is_no_zarr_is_named_and_not_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years")
    for call in (open_array, lambda path: save_array(path, np.ones(3))):
        with pytest.raises(ValueError, match=r"a\.zarr: this is no zarr array or group"):
            call(tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".zarr"])
def test_names_of_arrays_are_those_that_can_be_opened(suffix, tmp_path):
    file = tmp_path / f"two{suffix}"
    for name in ("one", "two"):
        save_array(f"{file}:{name}", np.ones(3))
    assert array_names(file) == {"one", "two"}
    np.save(tmp_path / "single.npy", np.ones(3))
    assert array_names(tmp_path / "single.npy") == set()
    with pytest.raises(ValueError, match="without the name of an array"):
        array_names(f"{file}:one")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        array_names(tmp_path / f"none{suffix}")
