"""Read repositories with Ultralytics' own code, each from the folder where its training is started, and say what it
found; run by that virtual environment's Python. Takes a JSON of [{"yaml", "cwd", "datasets"}], answers with one of
[{split: {image: [label, whether it is background]}}].
"""

import json
import os
import sys
from pathlib import Path

import ultralytics.data.utils
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.utils import SETTINGS_FILE

answers = []
for asked in json.loads(sys.stdin.read()):
    os.chdir(asked["cwd"])
    ultralytics.data.utils.DATASETS_DIR = Path(asked["datasets"])  # what its settings would say, read once at import
    data = check_det_dataset(asked["yaml"], autodownload=False)
    found = {}
    for split in ("train", "val", "test"):
        if not data.get(split) or "://" in str(asked["yaml"]) or "example.com" in str(data[split]):
            continue
        dataset = YOLODataset(img_path=data[split], data=data, task="detect", imgsz=96, augment=False)
        found[split] = {
            os.path.realpath(image): [os.path.realpath(label), not len(read["cls"])]
            for image, label, read in zip(
                dataset.im_files, img2label_paths(dataset.im_files), dataset.labels, strict=True
            )
        }
    answers.append(found)
sys.stdout.write("\n" + json.dumps({"settings": str(SETTINGS_FILE), "found": answers}) + "\n")
