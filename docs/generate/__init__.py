"""What of the documentation is drawn or written from the code: `make docs`. A test holds it to the code."""
