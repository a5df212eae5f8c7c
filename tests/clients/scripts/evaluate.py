"""Unpacks a model and judges it on the test split; writes the property file that a condition reads."""

import csv
import json
import pathlib
import tarfile

if __name__ == "__main__":
    with tarfile.open("/opt/ml/processing/model/model.tar.gz") as archive:
        archive.extractall("/opt/ml/processing/model", filter="data")
    slope = json.loads(pathlib.Path("/opt/ml/processing/model/algo-1.json").read_text())["slope"]
    with open("/opt/ml/processing/test/test.csv") as file:
        errors = [slope * float(x) - float(y) for x, y in csv.reader(file)]
    report = {"regression_metrics": {"mse": {"value": sum(error * error for error in errors) / len(errors)}}}
    folder = pathlib.Path("/opt/ml/processing/evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(report))
    print(f"evaluated {report}")
