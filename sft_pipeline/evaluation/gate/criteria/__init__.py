"""The criteria of the gate, a file for each subject: every criterion looks at judged pairs and leaves a `Reason`, whatever it finds.

What refuses: the measurement itself cannot be trusted, so that neither "better" nor "not better" would mean anything, or
a lift is there that may be one of the scoring. What fails: the measurement is sound and does not show what is asked for.
What informs: a reader should know it, and it decides nothing.
"""
