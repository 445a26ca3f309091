"""Read TFRecords with TensorFlow and say what each holds; run by the readers' own Python.

The features are those that the Object Detection API asks for (`data_decoders/tf_example_decoder.py`).
"""

import json
import sys

import tensorflow as tf

TEXT = ("encoded", "format", "filename", "key/sha256", "source_id")
NUMBERS = ("height", "width")
LISTS = {
    **{f"object/bbox/{side}": tf.float32 for side in ("xmin", "xmax", "ymin", "ymax")},
    "object/class/label": tf.int64,
    "object/class/text": tf.string,
    "object/area": tf.float32,
    "object/is_crowd": tf.int64,
    "object/difficult": tf.int64,
}
FEATURES = {
    **{f"image/{name}": tf.io.FixedLenFeature((), tf.string) for name in TEXT},
    **{f"image/{name}": tf.io.FixedLenFeature((), tf.int64) for name in NUMBERS},
    **{f"image/{name}": tf.io.VarLenFeature(kind) for name, kind in LISTS.items()},
}

found: dict[str, list[dict[str, object]]] = {}
for path in sys.argv[1:]:
    found[path] = []
    for record in tf.data.TFRecordDataset(path):
        one = tf.io.parse_single_example(record, FEATURES)
        image = tf.io.decode_image(one["image/encoded"], channels=3)
        found[path].append(
            {
                "filename": one["image/filename"].numpy().decode(),
                "sha256": one["image/key/sha256"].numpy().decode(),
                "source_id": int(tf.strings.to_number(one["image/source_id"], tf.int64)),
                "format": one["image/format"].numpy().decode(),
                "boxes": int(tf.size(one["image/object/bbox/xmin"].values)),
                "is_of_its_size": [int(one[f"image/{side}"]) for side in NUMBERS] == image.shape[:2].as_list(),
            }
        )
sys.stdout.write("\n" + json.dumps(found) + "\n")
