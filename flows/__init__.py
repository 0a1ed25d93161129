"""What runs: the Prefect flows and the `remaster` command. Orchestration only; no pixel is touched in here."""
