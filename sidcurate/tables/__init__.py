"""Tables of records: packed, by column, row by row, and held to what the records promise."""
