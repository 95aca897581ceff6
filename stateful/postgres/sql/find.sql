select id, epoch, owner, seq, token from {schema}.task where app = $1 and handler = $2 and partition = $3
