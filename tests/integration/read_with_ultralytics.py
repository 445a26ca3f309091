"""Read a dataset with Ultralytics' own code and say what it found; run by that virtual environment's Python."""

import json
import sys

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

data = check_det_dataset(sys.argv[1], autodownload=False)
dataset = YOLODataset(img_path=data["train"], data=data, task="detect", imgsz=96, augment=False)
backgrounds = sorted(label["im_file"] for label in dataset.labels if not len(label["cls"]))
print(
    json.dumps(
        {
            "images": len(dataset.labels),
            "backgrounds": backgrounds,
            "objects": sum(len(label["cls"]) for label in dataset.labels),
        }
    )
)
