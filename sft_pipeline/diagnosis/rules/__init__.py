"""What a log tells about a training: one file per subject, each rule a function from the log to findings."""
