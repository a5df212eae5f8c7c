"""Generates the pages and pictures that follow from the code: `make docs`. A test checks that they are up to date."""
