-- A new owner of a task: $5, in the place of $3 of epoch $2, under the lease with the token $4 unless
-- that is 0. It waits for a commit under way and returns the last one.
update {schema}.task t
set epoch = t.epoch + 1, owner = $5
where t.id = $1 and t.epoch = $2 and t.owner = $3
  and ($4::int8 = 0 or exists (
    select from {schema}.lease l
    where l.app = t.app and l.handler = t.handler and l.partition = t.partition and l.token = $4))
returning t.seq, t.token
