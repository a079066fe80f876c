"""Moving in and out: records in a file, from other vaults or from this one."""
