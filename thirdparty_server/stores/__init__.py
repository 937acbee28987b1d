"""Who is paid: the records of stores."""
