"""Invariants as a user writes them: prompts with checks, held before and after at stated rates, by prompt."""
