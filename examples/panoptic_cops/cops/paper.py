"""The paper's own numbers, as rows of the tables that stand beside ours."""

from __future__ import annotations

CITYSCAPES_BASELINE = {"PQ": "58.5", "PQ_th": "48.3", "PQ_st": "66.0"}
CITYSCAPES_FULL = {"PQ": "62.1", "PQ_th": "55.1", "PQ_st": "67.2"}
SEEDS = (61.41, 62.01, 61.77, 61.33, 61.91, 62.07)  # full training for 1,500 iterations

ROWS: dict[str, list[dict[str, str]]] = {
    "table1": [
        {"model": "paper: baseline (Cityscapes val)", **CITYSCAPES_BASELINE, "SQ": "80.3", "RQ": "71.8"},
        {"model": "paper: full (Cityscapes val)", **CITYSCAPES_FULL, "SQ": "81.5", "RQ": "75.2"},
        {"model": "paper: baseline (COCO val)", "PQ": "34.3", "PQ_th": "34.9", "PQ_st": "33.4"},
        {"model": "paper: full (COCO val)", "PQ": "38.4", "PQ_th": "40.5", "PQ_st": "35.2"},
    ],
    "table4": [
        {"model": "paper: PQ surrogate", **CITYSCAPES_FULL},
        {"model": "paper: separate losses", "PQ": "57.8", "PQ_th": "45.7", "PQ_st": "66.6"},
    ],
    "table6": [
        {"model": "paper: baseline", "AP": "32.7", "mIoU": "78.5"},
        {"model": "paper: full", "AP": "34.1", "mIoU": "79.3"},
    ],
    "table7": [
        {"model": "paper: baseline", "PQ_b": "35.2", "SQ_b": "62.3", "RQ_b": "55.9"},
        {"model": "paper: full", "PQ_b": "38.9", "SQ_b": "64.3", "RQ_b": "59.7"},
    ],
    "table8": [
        {"model": "paper", "grid": "1/4", "PQ": "62.1", "SQ": "81.5", "RQ": "75.2", "AP": "34.1", "seconds": "2"},
        {"model": "paper", "grid": "1", "PQ": "63.1", "SQ": "82.9", "RQ": "75.4", "AP": "38.2", "seconds": "15"},
    ],
    "table9": [
        {
            "model": "paper: full (Cityscapes)", **CITYSCAPES_FULL,
            "PQ, oracle": "81.1", "PQ_th, oracle": "67", "PQ_st, oracle": "91.4",
        },
    ],
}  # fmt: skip
TIMES = (
    "The paper (batch 24, 24 processes): AMWC 2.5 s, MWC 6.1 s, all 16.8 s on Cityscapes; 3.5, 9 and 15.7 s on COCO."
)
