"""Attack a model on every scan of a folder.

    Slicer --no-splash --no-main-window --python-script batch_attack.py FOLDER --out OUT --model chest \
        --attack pgd --epsilon 0.02 --goal heart-symbol structure=heart

OUT gets a run folder a case (with its report.html) and summary.csv. ``in_batch.py`` says what the exit codes mean.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import in_batch


def batch():
    """Return how many scans failed."""
    parser = in_batch.parser(__doc__.splitlines()[0])
    parser.add_argument("--epsilon", type=float, help="budget, a fraction of the range (default: the attack's own)")
    options = parser.parse_args()
    request = {**in_batch.fields(options), "model": options.model, "epsilon": options.epsilon}

    def runs(folder):
        return [(options.attack, folder, request)]

    return in_batch.work_off(options, [request], runs)


if __name__ == "__main__":
    in_batch.main(batch)
