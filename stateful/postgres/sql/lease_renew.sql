update {schema}.lease
set until = clock_timestamp() + $5 * interval '1 ms'
where app = $1 and handler = $2 and partition = $3 and holder = $4 and until > clock_timestamp()
returning token
