"""Fits a line by gradient descent; reads and writes where public training scripts do."""

import argparse
import csv
import json
import os

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--model-dir", default="/opt/ml/model")
    arguments, _ = parser.parse_known_args()
    with open("/opt/ml/input/data/train/train.csv") as file:
        rows = [(float(x), float(y)) for x, y in csv.reader(file)]
    slope = 0.0
    for epoch in range(arguments.epochs):
        error = [slope * x - y for x, y in rows]
        slope -= arguments.lr * sum((slope * x - y) * x for x, y in rows) / len(rows)
        loss = sum(e * e for e in error) / len(rows)
        if epoch % 20 == 0 or epoch == arguments.epochs - 1:
            print(f"epoch={epoch} validation:loss={loss:.6f};", flush=True)
    with open("/opt/ml/input/config/resourceconfig.json") as file:
        machine = json.load(file)["current_host"]
    with open(os.path.join(arguments.model_dir, f"{machine}.json"), "w") as file:
        json.dump({"slope": slope, "machine": machine, "hosts": json.loads(os.environ["SM_HOSTS"])}, file)
