"""Data sets and labels of others in, ours out: ARCADE, COCO, annotation tools, nnU-Net."""
