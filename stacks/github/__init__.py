"""The GitHub stack: roles for GitHub Actions."""
