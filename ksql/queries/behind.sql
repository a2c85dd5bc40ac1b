-- Customers that some system does not show as they are, as they fall behind, until Ctrl-C.
SELECT id, state, systems, behind, updated_at FROM customers WHERE behind > 0 EMIT CHANGES;
