"""The database, the ledger of orders and the artifact store."""
