"""From outputs to judgements: scorers applied, the sandbox for code, the judge's client and cache."""
