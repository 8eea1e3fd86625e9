"""What was found: records, verdicts, summaries."""
