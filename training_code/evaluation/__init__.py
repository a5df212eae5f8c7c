"""Evaluation of a model: metrics, intervals, slices, calibration, champion, gate, report and page."""
