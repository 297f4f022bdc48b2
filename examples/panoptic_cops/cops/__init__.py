"""COPS: panoptic segmentation trained end to end through an asymmetric multiway cut (Abbas & Swoboda, NeurIPS 2021)."""
