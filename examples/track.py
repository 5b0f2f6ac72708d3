"""Track a training: hyperparameters, metrics of two stages, and the data it used. Needs no server.

With HEADWAY_URL set the same script streams to that server while it runs; `headway sync` sends it there later otherwise.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import headway


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--alpha", type=float, default=1e-4, help="strength of the regularisation")
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16, labels, test_size=0.3, random_state=0)

    with headway.init(project="digits", labels=["example"]) as run, tempfile.TemporaryDirectory() as folder:
        run.config.parse(options)
        data = Path(folder, "digits.npz")
        np.savez_compressed(data, images=images, labels=labels)
        dataset = headway.Artifact("digits", type="dataset", description="8x8 digits of scikit-learn")
        dataset.add_file(data)
        run.mark_input(dataset)

        model = SGDClassifier(loss="log_loss", alpha=options.alpha, random_state=0)
        step = 0
        for epoch in range(options.epochs):
            for rows in np.array_split(np.random.default_rng(epoch).permutation(len(train_y)), 20):
                model.partial_fit(train_x[rows], train_y[rows], classes=range(10))
                step += 1
                run.log({"accuracy": model.score(train_x[rows], train_y[rows])}, step=step, stage="train", epoch=epoch)
            run.log({"accuracy": model.score(test_x, test_y)}, step=step, stage="val", epoch=epoch)

        run.log({"mistakes": headway.confusion_matrix(test_y, model.predict(test_x))}, step=step, stage="val")
        print(f"run {run.id}: {step} steps, accuracy {model.score(test_x, test_y):.3f}")


if __name__ == "__main__":
    main()
