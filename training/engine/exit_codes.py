"""Exit statuses of the trainer's process that tell its parent why it ended, numbered as in sysexits.h."""

EXIT_OUT_OF_MEMORY = 71  # EX_OSERR; of a scoring, which has no events to say so
EXIT_LEASE_LOST = 75  # EX_TEMPFAIL
