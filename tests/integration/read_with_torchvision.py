"""Read a Pascal VOC dataset with torchvision and say what each split holds; run by the readers' own Python."""

import json
import sys

from torchvision.datasets import VOCDetection

found = {}
for split in ("train", "val", "trainval"):
    dataset = VOCDetection(sys.argv[1], year="2012", image_set=split)
    told = [(image, target["annotation"]) for image, target in (dataset[at] for at in range(len(dataset)))]
    found[split] = {
        one["filename"]: {
            "objects": len(one["object"]),
            "is_of_its_size": list(image.size) == [int(one["size"][side]) for side in ("width", "height")],
        }
        for image, one in told
    }
sys.stdout.write("\n" + json.dumps(found) + "\n")
