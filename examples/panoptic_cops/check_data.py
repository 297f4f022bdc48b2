"""Read everything once before training: report problems, counts and sizes, suggest settings, and draw samples.

    python examples/panoptic_cops/check_data.py --data folder --root FOLDER
    python examples/panoptic_cops/check_data.py --config examples/panoptic_cops/configs/coco.yaml --root FOLDER

It takes the settings of train.py, but not its options --quick, --overfit, --max_steps and --overwrite.

Exit status: 0, nothing stops a training (there may be warnings); 1, there are errors; 2, nothing could be checked;
130 or 143, stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cops.config import Config, config_from_dict
from cops.data.checks import Report, check
from cops.data.samples import DataError
from cops.data.sheet import sheet
from cops.files import write_json, writing
from cops.stopping import Stopped, StopSignals
from jsonargparse import ArgumentParser
from PIL import Image

SHOWN = 20  # errors, and warnings, that are printed
SHARES = ("smallest", "5", "50", "95", "largest")


def main(arguments: list[str] | None = None) -> Report | None:
    """Check the data of one configuration."""
    parser = ArgumentParser(description="Read all data once before training, and report what is wrong with them.")
    parser.add_argument("--config", action="config", help="YAML file with settings, as for train.py")
    parser.add_argument("--json", type=Path | None, help="file for the whole report")
    parser.add_argument("--picture", type=Path, default=Path("check_data.png"), help="file for a sheet of samples")
    parser.add_class_arguments(Config)
    namespace = parser.parse_args(arguments)
    values = namespace.clone().as_dict()
    for name in ("config", "json", "picture"):
        values.pop(name, None)
    try:
        check_outputs(namespace.json, namespace.picture)
        with StopSignals():
            report = check(config_from_dict(values).resolved())
            write(report, namespace.json, namespace.picture)
    except (DataError, ValueError, OSError) as error:
        parser.exit(2, f"check_data.py: error: {error}\n")
    except Stopped as stopped:
        parser.exit(128 + stopped.number, f"check_data.py: {stopped}\n")
    if report.errors:
        parser.exit(1, f"check_data.py: {len(report.errors)} errors\n")
    return report


def check_outputs(json: Path | None, picture: Path) -> None:
    """Raise a ValueError if a file could not be written after all data were read."""
    for option, path in (("--json", json), ("--picture", picture)):
        if path is not None and path.is_dir():
            raise ValueError(f"{option} must name a file, but {path} is a folder")
        if path is not None and any(p.exists() and not p.is_dir() for p in path.parents):
            raise ValueError(f"{option} {path} cannot be written: a part of its path is a file and no folder")
    try:
        kind = Image.registered_extensions().get(picture.suffix.lower())
        Image.new("RGB", (1, 1)).save(io.BytesIO(), kind)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"--picture {picture} must end in the suffix of an image, such as .png or .jpg") from None


def write(report: Report, json: Path | None, picture: Path) -> None:
    """Print the report, and write its files."""
    print("\n".join(lines(report)))
    kept = [(name, sample) for name, found in report.splits.items() for sample in found.kept]
    if kept:
        with writing(picture):
            picture.parent.mkdir(parents=True, exist_ok=True)
            sheet(kept, report.categories).save(picture)
        print(f"wrote {picture}")
    if json is not None:
        write_json(report.to_dict(), json)
        print(f"wrote {json}")


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    for name, found in report.splits.items():
        summary = found.summary(report.categories)
        height, width, things = (summary[key] for key in ("height", "width", "things_in_an_image"))
        yield f"\n{name}: {found.images} images" + f", {found.unreadable} of them unreadable" * bool(found.unreadable)
        if height is not None:
            yield (
                f"width {_range(width)}, height {_range(height)} pixels; {_range(things)} things in an image, "
                f"{things['50']:g} in the median; {summary['percent_of_void']:.1f} % of the pixels are void"
            )
            yield f"\n| class | kind | images | segments | crowds | % of pixels | {' | '.join(map(_area, SHARES))} |"
            yield "|---|---|" + "---|" * (4 + len(SHARES))
            yield from (_row(row) for row in summary["classes"])
    for title, texts in (("errors", report.errors), ("warnings", report.warnings)):
        yield f"\n{title}: {len(texts) or 'none'}"
        yield from (f"- {text}" for text in texts[:SHOWN])
        if len(texts) > SHOWN:
            yield f"- and {len(texts) - SHOWN} more (--json FILE lists all)"
    if report.suggestions:
        yield "\nsuggested settings:"
        yield from (f"  --{s['setting']} {s['value']}  ({s['reason']})" for s in report.suggestions)
    yield ""


def _row(row: dict[str, Any]) -> str:
    area = row["area"]
    cells = [row["name"], "thing" if row["isthing"] else "stuff", row["images"], row["segments"], row["crowds"]]
    cells += [f"{row['percent_of_pixels']:.1f}", *("" if area is None else f"{area[share]:.0f}" for share in SHARES)]
    return "| " + " | ".join(map(str, cells)) + " |"


def _area(share: str) -> str:
    return f"area, {share} %" if share.isdecimal() else f"{share} area"


def _range(values: dict[str, float]) -> str:
    low, high = values["smallest"], values["largest"]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


if __name__ == "__main__":
    main()
