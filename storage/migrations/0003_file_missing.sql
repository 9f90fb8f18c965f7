-- A finished order whose file the provider does not serve: since when, apart from an order that it does not know.
alter table orders add column file_missing_since timestamptz;
