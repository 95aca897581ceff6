select token from {schema}.lease where app = $1 and handler = $2 and partition = $3
