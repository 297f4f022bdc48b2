"""Image files as Pillow reads them: errors with the file's name, pages, orientation, and conversion to RGB.

Everything that opens an image goes through `opened`, and everything that becomes RGB through `to_rgb`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .normalize import FIXED, PERCENTILE, stretched
from .samples import DataError

# Pillow warns above its limit and refuses what has twice as many pixels; here one limit holds, and below it is silence.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS = 2 * 89_478_485
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
ONE_PICTURE = {"ICNS", "ICO", "MPO", "PSD"}  # what follows the first picture is a preview, a depth map, or a layer
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG"}  # which Pillow knows by name and cannot decode
REDUCED, SUBFILE, BITS, SAMPLE = 1, 254, 258, 339  # TIFF tags, and the bit of tag 254 that marks a small copy
HEIF = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"}  # brands in the beginning of the file
FOREIGN = {
    **dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "HEIC (phones), which Pillow cannot read: convert "
                    "it to JPEG or PNG, for instance with the package pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF, which this Pillow cannot read: convert it to PNG, or update Pillow"),
    ".jxl": "JPEG XL, which Pillow cannot read: convert it to PNG",
    **dict.fromkeys((".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef",
                     ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
                    "a camera's raw file, which Pillow cannot read: develop it to TIFF, PNG or JPEG"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM, which Pillow cannot read: convert it to TIFF or PNG"),
    **dict.fromkeys((".czi", ".ims", ".lif", ".lsm", ".mrxs", ".nd2", ".ndpi", ".oib", ".oif", ".scn", ".svs", ".vsi",
                     ".zvi"), "a microscope's format, which Pillow cannot read: export it as TIFF or PNG"),
    **dict.fromkeys((".exr", ".hdr", ".mha", ".mhd", ".mrc", ".nii", ".npy", ".nrrd", ".pdf", ".svg", ".svgz"),
                    "of a format that is not read here: convert it to TIFF or PNG"),
}  # fmt: skip


def readable() -> set[str]:
    """Suffixes of the formats that Pillow reads here, in small letters."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in set(Image.OPEN) - STUBS}


@contextlib.contextmanager
def opened(path: Path, where: str = "", kind: str = "file") -> Iterator[Image.Image]:
    """Open an image file; whatever Pillow raises about it, now or while pixels are read, becomes a DataError.

    Parameters
    ----------
    path : path
    where : str
        What names the file, for the messages.
    kind : str
        What the file is, for the messages.

    Raises
    ------
    DataError
        If the file is missing, a folder, too large, damaged, or no image.
    """
    prefix = f"{where}: " if where else ""
    try:
        with Image.open(path) as file:
            yield file
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{prefix}the {kind} {path} is missing") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = str(error).partition(",")[0]
        raise DataError(f"{prefix}{path} is too large ({found}): scale it down, or cut it into tiles") from None
    except Exception as error:  # damaged files raise nearly everything: SyntaxError, TypeError, struct.error, ...
        if (foreign := _foreign(path)) is not None:
            raise DataError(f"{prefix}{path} is {foreign}") from None
        said = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its text is the path again
            said = "its format is unknown, or its beginning is damaged"
        raise DataError(f"{prefix}{path} cannot be read as an image: {said}") from error


def _foreign(path: Path) -> str | None:
    """Describe a format that Pillow does not read, by the first bytes of the file or by its suffix; None if unknown."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return None
    if head[4:8] == b"ftyp" and head[8:12] in HEIF:  # phones and messengers also call such a file .jpg
        return FOREIGN[".heic"]
    if _bits_of_tiff(path) == 64:
        return ('a TIFF with numbers of 64 bits, which Pillow cannot read: save it with 32 bits, for instance by '
                'tifffile.imwrite(path, tifffile.imread(path).astype("int32"))')  # fmt: skip
    return FOREIGN[".dcm"] if head[128:] == b"DICM" else FOREIGN.get(path.suffix.lower())


def _bits_of_tiff(path: Path) -> int | None:
    """Bits of the numbers in a TIFF file; None for other files, and for damaged ones."""
    with contextlib.suppress(Exception), warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")
        head = file.read(8)
        tags = ImageFileDirectory_v2(head + (file.read(8) if head[2:4] in (b"+\0", b"\0+") else b""))
        file.seek(tags.next)
        tags.load(file)
        return int(tags[BITS][0])
    return None


def pages(file: Image.Image) -> Iterator[Image.Image]:
    """Every page of a stack and frame of an animation, without reduced copies; each is valid until the next one."""
    for number in range(_count(file)):
        if number:
            file.seek(number)
        if not number or not _is_reduced(file):
            yield file


def count_pages(file: Image.Image) -> int:
    """Number of pages that `pages` yields."""
    count = _count(file)
    if count > 1 and file.format == "TIFF":  # only headers are read
        count = sum(1 for _ in pages(file))
        file.seek(0)
    return count


def check_one_page(file: Image.Image, path: Path) -> None:
    """Raise a DataError if a file that should be one picture holds several."""
    count = count_pages(file)
    if count > 1:
        raise DataError(f"{path} holds {count} pages, where one is expected: save every page in a file of its own")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, and as viewers and labelling tools show it."""
    unsigned = _unsigned_32_bits(image)
    turned = ImageOps.exif_transpose(image)
    turned.info["unsigned"] = unsigned
    return turned


def values_of(image: Image.Image) -> NDArray[np.generic]:
    """Numbers of the pixels as the file holds them, (H, W) or (H, W, C), after `upright`."""
    values = np.array(image)
    return values.view(np.uint32) if image.info.get("unsigned") else values


def to_rgb(image: Image.Image, path: Path, normalize: str = FIXED) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of an opened image or of one of its pages, upright.

    Numbers of 16 or 32 bits and floats are scaled from the image's own range to 0-255, as microscopes use a part of
    theirs; a constant image becomes black. Transparency is left out.

    Parameters
    ----------
    normalize : str
        One of `NORMALIZE`. "percentile" sees the numbers before they are reduced to 8 bits.

    Raises
    ------
    DataError
        If the image holds NaN or infinite values.
    """
    image = upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_scaled(values_of(image), path, normalize)[..., None], 3, axis=2)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # a palette may hold transparency, which does not become RGB at once
    elif image.mode == "La":
        image = image.convert("LA")
    rgb = np.array(image.convert("RGB"))
    return stretched(rgb) if normalize == PERCENTILE else rgb


def read_image(path: Path, where: str = "", normalize: str = FIXED) -> NDArray[np.uint8]:
    """Read a file that holds one picture as RGB (H, W, 3) uint8.

    Raises
    ------
    DataError
        If the file is missing, damaged, too large, no image, holds several pages, or values that are not finite.
    """
    with opened(path, where) as file:
        check_one_page(file, path)
        return to_rgb(file, path, normalize)


def _scaled(values: NDArray[np.generic], path: Path, normalize: str) -> NDArray[np.uint8]:
    numbers = values.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    if not np.isfinite(high - low):
        raise DataError(f"{path} holds NaN or infinite values: replace them before it can be scaled to 8 bits")
    if normalize == PERCENTILE:
        return stretched(numbers)
    return np.rint((numbers - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)


def _count(file: Image.Image) -> int:
    return 1 if file.format in ONE_PICTURE else int(getattr(file, "n_frames", 1))


def _is_reduced(file: Image.Image) -> bool:
    """Whether a page of a TIFF is a small copy of another one."""
    tags = getattr(file, "tag_v2", {})
    return bool(int(tags.get(SUBFILE, 0)) & REDUCED)


def _unsigned_32_bits(image: Image.Image) -> bool:
    """Whether numbers of a TIFF, which Pillow takes for signed ones, have 32 bits and no sign."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tuple(tags.get(BITS, ())) == (32,) and tuple(tags.get(SAMPLE, (1,))) == (1,)
