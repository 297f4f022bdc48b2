"""Exported networks: costs on any size, metadata, and the example that cuts them without torch."""

import json
import subprocess
import sys
from pathlib import Path

import export_onnx
import numpy as np
import onnxruntime
import predict
import pytest
import torch
from cops.model.checkpoints import load_model
from PIL import Image

CHECKPOINTS = Path(predict.__file__).parent / "checkpoints"
EXAMPLE = Path(predict.__file__).parent / "predict_onnx.py"
WITHOUT_TORCH = f"""
import runpy, sys
sys.modules["torch"] = None  # any import of it fails
runpy.run_path({str(EXAMPLE)!r})
"""


def discs(size, bits=8):
    """Bright discs, some of which touch, on a dark noisy ground."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: size[0], : size[1]]
    grey = rng.normal(20, 3, size)
    for cy, cx, r in ((20, 20, 9), (20, 38, 9), (60, 30, 12), (50, 70, 8), (25, 75, 10), (72, 52, 6)):
        grey[(y - cy) ** 2 + (x - cx) ** 2 < r * r] += 120
    return grey.round().astype(np.uint8) if bits == 8 else (40 * grey + 1000).astype(np.uint16)


def percentile_checkpoint(path):
    """The trained nuclei model, as if it had been trained with images that percentiles normalise."""
    content = torch.load(CHECKPOINTS / "nuclei_full_svm.pt", weights_only=True)
    content["config"]["dataset"]["normalize"] = "percentile"
    torch.save(content, path)
    return path


def test_costs_of_pixels_are_those_of_the_model_on_any_size(tmp_path):
    path = CHECKPOINTS / "nuclei_full_svm.pt"
    export_onnx.main([str(path), f"--out={tmp_path / 'm.onnx'}", "--pixels=true", "--size=64"])
    session, (model, _) = onnxruntime.InferenceSession(tmp_path / "m.onnx"), load_model(path)
    for size in ((64, 64), (45, 70), (7, 5)):
        image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
        expected = model.to_cut(*model.costs([image], torch.device("cpu")), size)
        batch = ((image.astype(np.float32) - 127.5) / 60).transpose(2, 0, 1)[None]
        for a, b in zip(session.run(None, {"images": batch}), expected, strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-4)


def test_metadata_describe_the_cut(tmp_path):
    path = percentile_checkpoint(tmp_path / "p.pt")
    found = {}
    for pixels in (False, True):
        export_onnx.export(path, tmp_path / "m.onnx", 64, pixels)
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        found[pixels] = json.loads(session.get_modelmeta().custom_metadata_map["diffcomb"])
    grid, pixel = found[False], found[True]
    assert (grid["normalize"], grid["stride"], grid["divisor"], grid["offsets"][2]) == ("percentile", 2, 8, [0, 2])
    assert (pixel["stride"], pixel["divisor"], pixel["offsets"][2]) == (1, 1, [0, 4])
    assert grid["thresholds"] == [20, 80]
    assert [c["name"] for c in grid["categories"]] == ["nucleus", "background"]


@pytest.mark.parametrize("kind", ["pixels", "grid", "percentile", "turned", "16 bits"])
def test_example_without_torch_finds_the_segments_of_predict(kind, tmp_path, capsys):
    path = percentile_checkpoint(tmp_path / "p.pt") if kind == "percentile" else CHECKPOINTS / "nuclei_full_svm.pt"
    exif = Image.Exif()
    exif[0x0112] = 6 if kind == "turned" else 1  # lying on its side
    image = Image.fromarray(discs((85, 90), 16 if kind in ("percentile", "16 bits") else 8))
    image.save(tmp_path / "image.png", exif=exif)
    pixels = str(kind != "grid").lower()
    export_onnx.main([str(path), f"--out={tmp_path / 'm.onnx'}", f"--pixels={pixels}", "--size=64"])
    predict.main([str(tmp_path / "image.png"), f"--checkpoint={path}", f"--out={tmp_path / 'p'}",
                  f"--full_resolution={pixels}"])  # fmt: skip
    names = [str(tmp_path / name) for name in ("m.onnx", "image.png", "found.png")]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = np.asarray(Image.open(tmp_path / "p" / "image_panoptic.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "found.png")), expected)
    assert done.stdout.count("nucleus") >= 5


def test_errors_of_the_example_are_one_line(tmp_path):
    export_onnx.main(
        [str(CHECKPOINTS / "nuclei_full_svm.pt"), f"--out={tmp_path / 'm.onnx'}", "--pixels=true", "--size=64"]
    )
    Image.fromarray(discs((20, 20))).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no image")
    for names, message in (
        ([], "give three files: predict_onnx.py MODEL.onnx IMAGE SEGMENTS.png"),
        (["gone.onnx", "a.png", "out.png"], "the model gone.onnx cannot be used: "),
        (["text.png", "a.png", "out.png"], "the model text.png cannot be used: "),
        (["m.onnx", "gone.png", "out.png"], "the image gone.png cannot be used: FileNotFoundError"),
        (["m.onnx", "text.png", "out.png"], "the image text.png cannot be used: UnidentifiedImageError"),
        (["m.onnx", "a.png", "gone/out.png"], "the file gone/out.png cannot be used: FileNotFoundError"),
    ):
        done = subprocess.run([sys.executable, EXAMPLE, *names], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"predict_onnx.py: error: {message}")
        assert done.stderr.count("\n") == 1


def test_example_says_what_to_install(tmp_path):
    code = f"import runpy, sys; sys.modules['onnxruntime'] = None; runpy.run_path({str(EXAMPLE)!r})"
    done = subprocess.run([sys.executable, "-c", code, "m.onnx", "a.png", "out.png"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('predict_onnx.py: error: onnxruntime (pip install "diffcomb[onnx]") cannot be used: ')
    assert done.stderr.count("\n") == 1


def test_example_is_short():
    code = EXAMPLE.read_text().partition("\nnetwork, path")[2]
    assert len(code.splitlines()) <= 30
