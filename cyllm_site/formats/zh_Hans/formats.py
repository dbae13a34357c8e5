"""Times to the second and in one order, as one compares them with logs."""

DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
# With a space that never breaks a line: in tables a time stays in one piece.
DATETIME_FORMAT = "Y-m-d\N{NO-BREAK SPACE}H:i:s"
