-- Commissions of the quarter so far: 6 %, 8 % above 200,000, 10 % above 350,000.
SELECT date_trunc('quarter', :'as_of'::timestamp)::date AS first, (date_trunc('quarter', :'as_of'::timestamp) + interval '3 months')::date AS next \gset
SELECT salesops.create_commission_plan('account executive', '{"period": "quarter", "currency": "USD",
  "tiers": [{"from": 0, "rate": 0.06}, {"from": 200000, "rate": 0.08}, {"from": 350000, "rate": 0.10}]}');
SELECT count(salesops.assign_commission_plan(o.owner_id, 'account executive', daterange(:'first', NULL)))
  FROM (SELECT DISTINCT o.owner_id FROM salesops.opportunity o LEFT JOIN salesops.sales_rep r ON r.rep_id = o.owner_id
         WHERE o.owner_id IS NOT NULL AND r.is_active IS NOT FALSE) o;
CREATE TABLE demo.commission AS SELECT * FROM salesops.calculate_commissions(daterange(:'first', :'next'));
