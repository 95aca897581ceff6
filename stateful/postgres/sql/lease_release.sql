update {schema}.lease set until = '-infinity'
where app = $1 and handler = $2 and partition = $3 and holder = $4
