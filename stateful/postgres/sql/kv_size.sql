select pg_total_relation_size('{schema}.kv')
