"""Attack a model on every scan of a folder, with several budgets.

    Slicer --no-splash --no-main-window --python-script batch_sweep.py FOLDER --out OUT --model chest \
        --epsilons 0.005 0.01 0.02 0.05

OUT gets a folder a case with a run folder a budget, and summary.csv. ``in_batch.py`` says what the exit codes mean.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import in_batch


def batch():
    """Return how many scans failed."""
    parser = in_batch.parser(__doc__.splitlines()[0])
    parser.add_argument("--epsilons", type=float, nargs="+", required=True, help="budgets, fractions of the range")
    options = parser.parse_args()
    base = {**in_batch.fields(options), "model": options.model}
    requests = [{**base, "epsilon": epsilon} for epsilon in options.epsilons]

    names = [f"{epsilon:g}" for epsilon in options.epsilons]
    if len(set(names)) < len(names):
        raise in_batch.BadRequest(f"--epsilons: one is named twice: {', '.join(names)}")

    def runs(folder):
        return [
            (f"epsilon {name}", folder / f"epsilon_{name}", request)
            for name, request in zip(names, requests, strict=True)
        ]

    return in_batch.work_off(options, requests, runs)


if __name__ == "__main__":
    in_batch.main(batch)
