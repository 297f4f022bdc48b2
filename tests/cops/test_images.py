"""Images of every kind, with orientation, pages and damage: read as viewers show them, or refused by name."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from cops.data import images
from cops.data.coco import read_ids
from cops.data.folder import read_labels
from cops.data.frames import files_of, frames_of
from cops.data.images import read_image
from cops.data.samples import DataError
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], -1)


def oriented(number):
    exif = Image.Exif()
    exif[274] = number
    return exif


def single(path):
    ((_, image),) = frames_of(path)
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_images_are_turned_as_their_exif_orientation_says(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(COLOUR).save(path, exif=oriented(orientation))
    with Image.open(path) as file:
        expected = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    assert expected.shape[:2] == ((4, 3) if orientation > 4 else (3, 4))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(single(path), expected)


def test_labels_are_turned_as_images_are(tmp_path):
    values = GREY.astype(np.uint16) * 100
    Image.fromarray(values).save(tmp_path / "a.png", exif=oriented(6))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), np.rot90(values, -1))
    Image.fromarray(COLOUR).save(tmp_path / "b.png", exif=oriented(3))
    ids = COLOUR.astype(np.int64) @ np.array([1, 256, 65536])
    np.testing.assert_array_equal(read_ids(tmp_path / "b.png"), ids[::-1, ::-1])


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    if mode == "P":
        image = Image.fromarray(COLOUR).quantize(8)
    elif mode in ("I;16", "I;16B", "I", "F"):
        kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
        image = Image.frombytes(mode, (4, 3), (GREY * 1.0).astype(kind).tobytes())
    else:
        image = Image.new("LAB", (4, 3)) if mode == "LAB" else Image.fromarray(COLOUR).convert(mode)
    image.save(path)
    found = read_image(path)
    assert (found.shape, found.dtype) == ((3, 4, 3), np.uint8)
    if mode in ("I;16", "I;16B", "I", "F"):
        np.testing.assert_array_equal(found[..., 0], np.rint(GREY * (255 / 220)))
    if mode in ("L", "YCbCr"):
        assert abs(found.astype(int).mean() - COLOUR.mean()) < 20


def test_palette_with_transparency_keeps_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[10, 20, 30], [200, 100, 50]]])


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("factor", [1 / 256, 1, 10])
def test_numbers_are_scaled_from_the_range_of_the_image(tmp_path, kind, factor):
    """0..1, 12 of 16 bits and negative numbers end as the same picture with 8 bits does."""
    if kind is np.uint16 and factor < 1:
        factor = 1
    values = np.linspace(0, 255, 256).reshape(16, 16)
    if kind is np.int32:
        values, factor = values - 100, max(factor, 1)
    Image.fromarray((values * factor).astype(kind)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 1], np.arange(256).reshape(16, 16))


def test_unsigned_32_bits_do_not_become_negative(tmp_path):
    values = np.array([[0, 2**31 - 1], [2**31, 2**32 - 1]], np.uint32)
    Image.fromarray(values.view(np.int32)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, form, 0) for form in (2, 1))  # tag, short, one value
    assert content.count(signed) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(signed, unsigned))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], [[0, 127], [128, 255]])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), values)


def test_constant_images_are_read_and_values_that_are_not_finite_are_refused(tmp_path):
    for kind in (np.uint16, np.float32):
        Image.fromarray(np.full((2, 3), 7, kind)).save(tmp_path / "a.tif")
        assert not read_image(tmp_path / "a.tif").any()
    for bad in (np.nan, np.inf):
        values = np.ones((2, 3), np.float32)
        values[0, 1] = bad
        Image.fromarray(values).save(tmp_path / "b.tif")
        with pytest.raises(DataError, match=r"b\.tif holds NaN or infinite values"):
            read_image(tmp_path / "b.tif")


def test_videos_are_turned_as_players_turn_them(tmp_path):
    """Phones write how to turn the frames into the header: here by a quarter clockwise."""
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    still = np.zeros((32, 64, 3), np.uint8)
    still[:, :32] = 250  # the left half, which goes up
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        container.mux(stream.encode())
    content, one, turned = path.read_bytes(), 1 << 16, (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    start = content.index(plain, content.index(b"tkhd"))
    path.write_bytes(content[:start] + struct.pack(">9i", *turned) + content[start + len(plain) :])
    image = single(path)
    assert image.shape == (64, 32, 3)
    assert image[:28].min() > 150
    assert image[36:].max() < 100


def pages(kind=np.uint16):
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 60, (5, 6)) * (10 + 5 * i)).astype(kind) for i in range(3)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pages_of_stacks_are_read_as_single_images(tmp_path, kind):
    first, *others = [Image.fromarray(page) for page in pages(kind)]
    first.save(tmp_path / "s.tif", save_all=True, append_images=others)
    found = list(frames_of(tmp_path / "s.tif"))
    assert [name for name, _ in found] == ["s_00000", "s_00001", "s_00002"]
    for (_, image), page in zip(found, pages(kind), strict=True):
        Image.fromarray(page).save(tmp_path / "one.tif")
        np.testing.assert_array_equal(image, read_image(tmp_path / "one.tif"))


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".png", ".webp"])
def test_several_pages_are_frames_in_prediction_and_refused_in_training(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    first, *others = [Image.fromarray(page).convert("RGB" if suffix == ".webp" else "L") for page in pages(np.uint8)]
    first.save(path, save_all=True, append_images=others)
    assert len(list(frames_of(path))) == 3
    for read in (read_image, read_labels, read_ids):
        with pytest.raises(DataError, match=r"a\.\w+ holds 3 pages, where one is expected: save every page"):
            read(path)


def test_previews_are_not_counted_as_pages(tmp_path):
    """A phone's MPO holds a photo and a preview, a pyramid its small copies: each is one picture."""
    photo, preview = Image.fromarray(COLOUR), Image.fromarray(COLOUR[:2])
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    copy = preview.copy()
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    photo.save(tmp_path / "b.tif", save_all=True, append_images=[copy])
    for name in ("a.jpg", "b.tif"):
        with Image.open(tmp_path / name) as file:
            assert file.n_frames == 2
        assert read_image(tmp_path / name).shape == single(tmp_path / name).shape == (3, 4, 3)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("suffix", [".tif", ".gif", ".png", ".webp"])
def test_damaged_stacks_and_animations_are_named(tmp_path, suffix, share):
    path = tmp_path / f"bad{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (4, 40, 40, 3), np.uint8)
    first, *others = [Image.fromarray(frame) for frame in noise]
    first.save(path, save_all=True, append_images=others)
    cut(path, share)
    with pytest.raises(DataError, match=rf"bad\{suffix} cannot be read as an image: \S"):
        list(frames_of(path))


@pytest.mark.parametrize(
    "error", [TypeError("Missing dimensions"), SyntaxError("not a TIFF"), EOFError(), ValueError("x"), KeyError(3)]
)
def test_every_error_of_pillow_names_the_file(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", fail)
    for read in (read_image, read_labels, read_ids, lambda path: list(frames_of(path))):
        with pytest.raises(DataError, match=r"a\.png cannot be read as an image: \S"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("form", [b"II*\0" + bytes(4), b"MM\0*" + bytes(4), b"II+\0" + bytes(12)])
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_tiffs_of_64_bits_say_how_to_save_32(tmp_path, form, read):
    tags = ImageFileDirectory_v2(form)
    for tag, value in {256: 4, 257: 3, 258: 64, 259: 1, 262: 1, 273: 8, 277: 1, 278: 3, 279: 96, 339: 2}.items():
        tags[tag] = value
    with (tmp_path / "a.tif").open("wb") as file:
        tags.save(file)
    with pytest.raises(DataError, match=r'a\.tif is a TIFF with numbers of 64 bits, .*astype\("int32"\)'):
        read(tmp_path / "a.tif")


def test_float_labels_are_read_if_they_are_whole(tmp_path):
    path = tmp_path / "a.tif"
    values = np.array([[0, 2001], [2, 2**24]], np.float32)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read_labels(path), values)
    for wrong in (0.5, np.nan, np.inf, 2**25):
        Image.fromarray(np.where(values == 2, np.float32(wrong), values)).save(path)
        with pytest.raises(
            DataError, match=r"a\.tif holds float numbers that are not all whole numbers up to 16777216"
        ):
            read_labels(path)


def test_images_above_the_limit_are_refused_and_those_below_are_silent(tmp_path, monkeypatch):
    assert images.MAX_PIXELS > 4000 * 3000
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "large.png")
    for limit in (1100, 500):  # Pillow warns of the first, and raises at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for read in (read_image, read_labels, lambda path: list(frames_of(path))):
            with pytest.raises(
                DataError, match=r"large\.png is too large \(Image size \(1200 pixels\) exceeds limit of"
            ):
                read(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "large.png").shape == (30, 40, 3)


def test_folders_are_searched_and_say_what_they_left_out(tmp_path):
    for name in ("b/c/2.PNG", "a.jpg", "._a.jpg", ".cache/x.png", "results/a_overlay.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(tmp_path / name, "PNG")
    for name in ("phone.HEIC", "b/raw.NEF", "notes.txt", "table.csv", "scan.dcm", "brain.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    found = files_of([tmp_path], outside=tmp_path / "results")
    assert [p.relative_to(tmp_path).as_posix() for p in found.files] == ["a.jpg", "b/c/2.PNG"]
    reasons = {p.name: reason for p, reason in found.left_out}
    assert set(reasons) == {"phone.HEIC", "raw.NEF", "scan.dcm", "brain.nii.gz"}
    assert "pillow-heif" in reasons["phone.HEIC"]
    assert files_of([tmp_path / "a.jpg", tmp_path / "gone.png"]).files == [tmp_path / "a.jpg", tmp_path / "gone.png"]


def test_folders_without_images_are_errors(tmp_path):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    (tmp_path / "empty" / ".keep").write_bytes(b"")
    with pytest.raises(DataError, match=r"the folder .*empty holds no image or video that can be read$"):
        files_of([tmp_path / "empty"])
    (tmp_path / "empty" / "inner" / "1.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"empty holds no image .*; .*1\.heic is HEIC"):
        files_of([tmp_path / "empty"])


def test_formats_that_no_reader_knows_say_what_to_convert(tmp_path):
    for name, advice in (("a.heic", "pillow-heif"), ("a.cr2", "develop it"), ("a.dcm", "convert it")):
        (tmp_path / name).write_bytes(b"ftypheic")
        with pytest.raises(DataError, match=rf"{name} is .*{advice}"):
            list(frames_of(tmp_path / name))
    (tmp_path / "phone.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(200))
    (tmp_path / "scan.png").write_bytes(bytes(128) + b"DICM" + bytes(200))
    for name, format in (("phone.jpg", "HEIC"), ("scan.png", "DICOM")):
        with pytest.raises(DataError, match=rf"{name} is {format}"):
            read_image(tmp_path / name)
    (tmp_path / "text.png").write_text("none")
    with pytest.raises(DataError, match=r"text\.png cannot be read as an image: its format is unknown"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"the file .*gone\.heic is missing"):
        list(frames_of(tmp_path / "gone.heic"))
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_image(tmp_path)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_labels_of_fewer_than_eight_bits_keep_their_values(tmp_path, bits):
    values = np.arange(16).reshape(2, 8) % 2**bits
    packed = [
        np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
        for row in values
    ]
    rows, plain = b"".join(b"\0" + row for row in packed), b"".join(packed)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), values)
    tags = (256, 8), (257, 2), (258, bits), (259, 1), (262, 1), (273, 8), (278, 2), (279, len(plain))
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + fields + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(plain)) + plain + directory)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), values)
