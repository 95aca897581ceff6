-- What of the server decides how well it keeps what it is given.
select pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_version_num')::int4
