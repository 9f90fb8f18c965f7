-- The rules of projects are in the tables of LangGraph's store, which its own migrations create before this file. Its name
-- in the history makes a command that finds an older database run them. The notes of a project are read by its runs.
create index decisions_of_run on decisions (run_id);
