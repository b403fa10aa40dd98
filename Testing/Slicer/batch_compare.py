"""Attack several models in the same way on every scan of a folder: which of them withstands.

    Slicer --no-splash --no-main-window --python-script batch_compare.py FOLDER --out OUT \
        --models chest path/to/my_defended_bundle --attack apgd --epsilon 0.01

OUT gets a folder a case with a run folder a model, and summary.csv. ``in_batch.py`` says what the exit codes mean.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import in_batch


def batch():
    """Return how many scans failed."""
    parser = in_batch.parser(__doc__.splitlines()[0], one_model=False)
    parser.add_argument("--models", nargs="+", required=True, help="shipped models' names, or bundles' folders")
    parser.add_argument("--epsilon", type=float, help="budget, a fraction of the range (default: the attack's own)")
    options = parser.parse_args()
    base = {**in_batch.fields(options), "epsilon": options.epsilon}
    names = [pathlib.Path(model).name for model in options.models]
    if len(set(names)) < len(names):
        raise in_batch.BadRequest(f"--models: two of them are called the same: {', '.join(names)}")
    requests = {name: {**base, "model": model} for name, model in zip(names, options.models, strict=True)}

    def runs(folder):
        return [(name, folder / name, request) for name, request in requests.items()]

    return in_batch.work_off(options, list(requests.values()), runs)


if __name__ == "__main__":
    in_batch.main(batch)
