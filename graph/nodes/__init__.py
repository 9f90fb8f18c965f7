"""The nodes, by their subject. A node that spends makes one call, through the ledger; a node that waits only reads."""
