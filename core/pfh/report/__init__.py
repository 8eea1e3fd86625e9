"""The report: one HTML file that opens without network."""

from pfh.report.page import write_report

__all__ = ["write_report"]
