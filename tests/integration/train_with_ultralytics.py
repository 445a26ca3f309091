"""Train an epoch on a dataset with Ultralytics and say what it was trained on; run by the readers' own Python."""

import json
import sys

from ultralytics import YOLO

model = YOLO("yolo11n.yaml")
model.train(
    data=sys.argv[1],
    epochs=1,
    imgsz=96,
    batch=4,
    device="cpu",
    workers=0,
    plots=False,
    project=sys.argv[2],
    verbose=False,
)
losses = model.trainer.tloss
labels = model.trainer.train_loader.dataset.labels
sys.stdout.write(
    "\n"
    + json.dumps(
        {
            "images": len(labels),
            "backgrounds": sorted(label["im_file"] for label in labels if not len(label["cls"])),
            "objects": sum(len(label["cls"]) for label in labels),
            "losses": [float(loss) for loss in (losses.values() if isinstance(losses, dict) else losses)],
        }
    )
    + "\n"
)
