"""label-studio-negatives: background patches for object detectors, out of Label Studio.

The way of the data, and where each step lives:

1. a person draws an ROI in Label Studio; its webhook reaches `ingest`, which turns the event into durable work
   (`jobs`);
2. `workflow.propose` reads the tasks (`label_studio`), places patches free of every labelled object (`sampling`) and
   publishes the difference as a prediction; a stroke with the smart tool is answered at once (`ingest.ml_backend`);
3. people accept and reject in Label Studio; `review` counts their annotations into one decision per patch;
4. `export` plans and writes the accepted ones as images with zero-byte labels into a YOLO repository.

Events are hints: `workflow.reconcile` finds what no event told of. Label Studio is the book of record.
"""

__version__ = "0.1.0"
