"""Normalisation by percentiles: of the whole image, before it has 8 bits, alike in training and prediction."""

from pathlib import Path

import numpy as np
import predict
import pytest
import torch
from cops.config import Config, Dataset, config_from_dict
from cops.data.frames import frames_of
from cops.data.images import read_image
from cops.data.normalize import HIGH, LOW, stretched
from cops.data.samples import DataError
from cops.data.splits import load_splits
from cops.model.checkpoints import load_model
from PIL import Image

NUCLEI = Path(predict.__file__).parent / "checkpoints" / "nuclei_full_svm.pt"


def noise(kind=np.uint16, size=(40, 50)):
    return np.random.default_rng(0).normal(900, 100, size).astype(kind)


def test_percentiles_of_each_channel_become_black_and_white():
    image = np.random.default_rng(0).integers((0, 50, 90), (20, 130, 100), (30, 40, 3)).astype(np.uint8)
    found = stretched(image)
    for k in range(3):
        low, high = np.percentile(image[..., k], (LOW, HIGH))
        expected = np.clip((image[..., k] - low) / (high - low), 0, 1) * 255
        assert np.abs(found[..., k] - expected).max() <= 0.5
    assert (found.min(), found.max()) == (0, 255)


def test_nearly_black_images_keep_their_range_and_constant_ones_become_black():
    sparse = np.zeros((100, 100), np.uint8)
    sparse[3, 3], sparse[3, 4] = 200, 80
    found = stretched(sparse)
    assert (found[3, 3], found[3, 4], found[0, 0]) == (255, 102, 0)
    assert not stretched(np.full((4, 4, 3), 77, np.uint8)).any()


def test_percentiles_act_before_16_bits_become_8(tmp_path):
    values = noise()
    values[0, 0] = 65535  # a hot pixel
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(3 * values.astype(np.int32) + 70).save(tmp_path / "b.tif")
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "c.tif")
    assert len(np.unique(read_image(tmp_path / "a.png"))) < 8
    found = [read_image(tmp_path / name, "", "percentile") for name in ("a.png", "b.tif", "c.tif")]
    assert len(np.unique(found[0])) > 200
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    values = values.astype(np.float32)
    values[1, 1] = np.nan
    Image.fromarray(values).save(tmp_path / "d.tif")
    with pytest.raises(DataError, match="NaN or infinite"):
        read_image(tmp_path / "d.tif", "", "percentile")


def test_frames_are_stretched_one_by_one(tmp_path):
    pages = [Image.fromarray(noise() // 2 * k) for k in (1, 9)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    (_, first), (_, second) = frames_of(tmp_path / "s.tif", "percentile")
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) > 200


def write_folder(root):
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(noise() + 100 * i).save(root / "images" / f"{i}.png")
        Image.fromarray(np.full((40, 50), 1, np.uint8)).save(root / "labels" / f"{i}.png")
    (root / "classes.json").write_text('{"classes": [{"id": 1, "name": "cell", "isthing": true}]}')
    return root


def test_every_split_reads_normalised_images(tmp_path):
    root = write_folder(tmp_path / "data")
    for kind in ("fixed", "percentile"):
        config = Config(data="folder", root=str(root), dataset=Dataset(normalize=kind)).resolved()
        for split in load_splits(config):
            for i in range(len(split)):
                expected = read_image(root / "images" / split[i].file_name, "", kind)
                np.testing.assert_array_equal(split[i].image, expected)
    scenes = [load_splits(Config(dataset=Dataset(normalize=k)).resolved()).test for k in ("fixed", "percentile")]
    np.testing.assert_array_equal(stretched(scenes[0][3].image), scenes[1][3].image)
    assert len(scenes[1]) == len(scenes[0])


@pytest.mark.parametrize("tile", [0, 32])
def test_prediction_normalises_the_whole_image_before_it_is_cut_into_tiles(tile, tmp_path, monkeypatch):
    content = torch.load(NUCLEI, weights_only=True)
    content["config"]["dataset"]["normalize"] = "percentile"
    torch.save(content, tmp_path / "p.pt")
    values = noise(size=(64, 96))
    values[:, 48:] += 3000  # the halves, and so their tiles, have other percentiles than the whole
    Image.fromarray(values).save(tmp_path / "a.png")
    seen = []
    real = predict.Segmenter.costs
    monkeypatch.setattr(predict.Segmenter, "costs", lambda self, images, device: (
        seen.extend(images), real(self, images, device))[1])  # fmt: skip
    predict.main([str(tmp_path / "a.png"), f"--checkpoint={tmp_path / 'p.pt'}", f"--out={tmp_path / 'p'}",
                  f"--tile={tile}"])  # fmt: skip
    whole = stretched(values)
    assert len(seen) == (6 if tile else 1)
    corner = seen[0][..., 0]
    np.testing.assert_array_equal(corner, whole[: corner.shape[0], : corner.shape[1]])


def test_checkpoints_without_the_setting_mean_fixed():
    values = Config(dataset=Dataset(normalize="percentile")).to_dict()
    assert config_from_dict(values).dataset.normalize == "percentile"
    del values["dataset"]["normalize"]
    assert config_from_dict(values).dataset.normalize == "fixed"
    assert load_model(NUCLEI)[0].normalize == "fixed"


def test_overfitting_a_normalised_scene_finds_its_name():
    config = Config(dataset=Dataset(normalize="percentile", overfit=1, size=64)).resolved()
    (sample,) = load_splits(config).train
    assert sample.image.min() == 0
    assert sample.image.max() == 255
