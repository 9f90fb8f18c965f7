"""The steps, by what they work on. One that spends makes one call, through the ledger; one that waits only reads."""
