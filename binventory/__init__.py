"""The command line and the code behind it: trains, serves and rehearses a model that counts items in bin photos."""
