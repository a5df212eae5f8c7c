"""`python -m binventory` is the command `binventory`."""

from binventory.cli import main

main()
