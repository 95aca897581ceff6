-- The session that holds a task's row, and whether it was ended.
select l.pid, pg_terminate_backend(l.pid)
from {schema}.task t
join pg_catalog.pg_locks l on l.locktype = 'transactionid' and l.transactionid = t.xmax and l.granted
where t.id = $1 and l.pid <> pg_backend_pid()
