"""`python -m local_aws` serves a local AWS; `local_aws/process.py` is what it does."""

import gc

if __name__ == "__main__":
    gc.disable()  # what imports make stays: to look through it for garbage is a tenth of a start
    from local_aws.process import main

    main()
