-- For the transaction alone: behind a pooler a session is not ours.
select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)
