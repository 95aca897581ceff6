select version from {schema}.pondage_format
