"""From an ROI's submission to its stored prediction, through the real webhook; 20 times.

The named alternative, in the same run: the webhook switched off, and Label Studio asked once a second what has changed,
as a set-up without webhooks would. The ratio compares the medians.

Run: make benchmarks
"""

import statistics
import tempfile
import time
from pathlib import Path

from service.demo.annotator import Annotator, labeling_configuration
from service.demo.label_studio import LabelStudioProcess
from service.domain.geometry import Box
from tests.bccd import Photo, photos
from tests.service_process import ServiceProcess
from tests.studio import LABEL_STUDIO

TIMES = 20
FIELDS = {"min_size": 24, "max_size": 60}


def waits(annotator: Annotator, tasks: list[int], taken: list[Photo]) -> list[float]:
    """Seconds from submitting an ROI to its stored prediction, task by task."""
    found = []
    for number, (task, photo) in enumerate(zip(tasks, taken, strict=True)):
        time.sleep(1 + number * 0.37 % 1)  # an annotator draws; not in step with anybody's clock
        begun = time.perf_counter()
        annotator.draw_roi(task, photo.size, Box(0, 0, *photo.size), FIELDS)
        while annotator.prediction(task) is None:
            time.sleep(0.01)
        found.append(time.perf_counter() - begun)
    return found


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        taken = photos(TIMES, folder)
        with (
            LabelStudioProcess(LABEL_STUDIO, folder / "label-studio").start() as studio,
            ServiceProcess(studio, folder, NEGATIVES_RECONCILE_SECONDS="1") as service,
            studio.api() as api,
        ):
            configuration = labeling_configuration(["RBC", "WBC", "Platelets", "Cell"])
            annotator = Annotator.in_new_project(api, "benchmark", configuration)
            project = annotator.project_id
            done = service.run("setup", "--project", str(project))
            assert done.returncode == 0, done.stdout
            tasks = annotator.upload([photo.path for photo in taken] * 2)
            for task, photo in zip(tasks, taken * 2, strict=True):
                annotator.label_objects(task, photo.size, photo.objects)
            told = waits(annotator, tasks[:TIMES], taken)
            (hook,) = api.get("/api/webhooks/", params={"project": project}).json()
            # It stays registered, so that the project counts as connected, but is told nothing of annotations.
            api.patch(f"/api/webhooks/{hook['id']}/", json={"actions": ["PROJECT_UPDATED"]}).raise_for_status()
            asked = waits(annotator, tasks[TIMES:], taken)
    print(f"an ROI submitted → its prediction stored, {TIMES} times each; seconds")
    print(f"{'':36}{'median':>8}{'fastest':>9}{'slowest':>9}")
    for name, found in (("told by the webhook", told), ("asking once a second, no webhook", asked)):
        print(f"{name:36}{statistics.median(found):8.2f}{min(found):9.2f}{max(found):9.2f}")
    print(f"ratio of medians: {statistics.median(asked) / statistics.median(told):.1f}")


if __name__ == "__main__":
    main()
