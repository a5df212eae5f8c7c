"""Splits the numbers of all files into train, validation and test, as public pipelines do: paths below /opt/ml."""

import argparse
import csv
import pathlib
import random

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    base = pathlib.Path("/opt/ml/processing")
    numbers = [int(path.read_text()) for path in sorted((base / "input").glob("*.txt"))]
    chance = random.Random(arguments.seed)
    rows = [(number, 2 * number + chance.uniform(-0.01, 0.01)) for number in numbers * 10]
    chance.shuffle(rows)
    cuts = {"train": rows[:24], "validation": rows[24:32], "test": rows[32:]}
    for name, part in cuts.items():
        (base / name).mkdir(parents=True, exist_ok=True)
        with open(f"/opt/ml/processing/{name}/{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(part)
    print(f"preprocessed {len(rows)} rows of {len(numbers)} files")
