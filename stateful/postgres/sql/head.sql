select epoch, owner, seq, token from {schema}.task where id = $1
