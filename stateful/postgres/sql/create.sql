insert into {schema}.task (app, handler, partition) values ($1, $2, $3) on conflict do nothing
