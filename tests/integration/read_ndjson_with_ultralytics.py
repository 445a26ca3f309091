"""Convert an NDJSON with Ultralytics' own code and say what each split holds; run by that virtual environment's Python.

The converter gives images new names, so backgrounds are told by the digests of their files.
"""

import asyncio
import json
import sys
from hashlib import sha256
from pathlib import Path

from ultralytics.data.converter import convert_ndjson_to_yolo
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

data = check_det_dataset(asyncio.run(convert_ndjson_to_yolo(sys.argv[1], output_path=sys.argv[2])), autodownload=False)
found = {}
for split in ("train", "val"):
    labels = YOLODataset(img_path=data[split], data=data, task="detect", imgsz=96, augment=False).labels
    found[split] = {
        "images": len(labels),
        "backgrounds": sorted(
            sha256(Path(label["im_file"]).read_bytes()).hexdigest() for label in labels if not len(label["cls"])
        ),
        "objects": sum(len(label["cls"]) for label in labels),
    }
sys.stdout.write("\n" + json.dumps(found) + "\n")
