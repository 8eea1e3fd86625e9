"""The steps of a run. Each makes one artifact, or finds it in the store and says so."""
