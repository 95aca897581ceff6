-- Moves a cursor, or fails, by a division by zero, and with it the transaction.
with moved as (
  update {schema}.cursor set seq = $7
  where sink = $1 and app = $2 and handler = $3 and partition = $4 and incarnation = $5 and epoch = $6
    and seq < $7 and ($8::int8 is null or seq = $8)
  returning seq
)
select 1 / count(*) from moved
