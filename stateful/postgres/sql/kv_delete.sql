-- How many of them were there.
with gone as (delete from {schema}.kv where key = any($1::bytea[]) returning expires)
select count(*) from gone where expires is null or expires > now()
