-- All that is known of one customer, and which customer a vendor's record is. Put in the ids.
DEFINE customer = '0b0f6c2e-1d5a-5f0e-9c56-0d1a3c2f7b11';
DEFINE stripe = 'cus_123';

SELECT id, version, deleted, contested, fields, records, updated_at FROM customer_lookup WHERE id = '${customer}';

SELECT external_id, customer FROM links_stripe WHERE external_id = '${stripe}';
