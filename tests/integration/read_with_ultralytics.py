"""Read a dataset with Ultralytics' own code and say what it found in the train split, or in the splits that are named;
run by the readers' own Python.
"""

import json
import sys

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

data = check_det_dataset(sys.argv[1], autodownload=False)
labels = [
    label
    for split in sys.argv[2:] or ["train"]
    for label in YOLODataset(img_path=data[split], data=data, task="detect", imgsz=96, augment=False).labels
]
print(
    json.dumps(
        {
            "images": len(labels),
            "backgrounds": sorted(label["im_file"] for label in labels if not len(label["cls"])),
            "objects": sum(len(label["cls"]) for label in labels),
        }
    )
)
