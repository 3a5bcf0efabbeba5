"""The gate: pairs of judged answers, criteria, verdict and report, over artifacts or over files."""
