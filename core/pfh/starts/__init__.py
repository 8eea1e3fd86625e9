"""The models that pfh brings along: the embedded one as it comes (BASE) and after a refusal tuning (SAFE)."""
